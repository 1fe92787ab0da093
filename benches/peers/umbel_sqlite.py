"""Umbel on its default, a SQLite file with synchronous=FULL."""

from benches.peers.base import Peer

PEER = Peer(
    name="umbel-sqlite",
    application="benches.apps.umbel_app",
    worker=("umbel", "-A", "benches.apps.umbel_app", "worker", "-c", "{concurrency}", "-l", "WARNING"),
    needs_redis=False,
    settings={"acks": "late", "results": "stored", "pool": "prefork", "durability": "synchronous=FULL"},
)
