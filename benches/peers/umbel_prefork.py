"""Umbel on Redis, prefork pool, defaults: late acknowledgement, results stored."""

from benches.peers.base import Peer

PEER = Peer(
    name="umbel-prefork",
    application="benches.apps.umbel_app",
    worker=("umbel", "-A", "benches.apps.umbel_app", "worker", "-P", "prefork", "-c", "{concurrency}", "-l", "WARNING"),
    settings={"acks": "late", "results": "stored", "pool": "prefork"},
)
