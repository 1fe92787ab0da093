"""Umbel on Redis, threads pool, defaults: late acknowledgement, results stored."""

from benches.peers.base import Peer

PEER = Peer(
    name="umbel-threads",
    application="benches.apps.umbel_app",
    worker=("umbel", "-A", "benches.apps.umbel_app", "worker", "-P", "threads", "-c", "{concurrency}", "-l", "WARNING"),
    settings={"acks": "late", "results": "stored", "pool": "threads"},
)
