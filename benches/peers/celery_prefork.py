"""Celery on Redis, prefork, defaults: early acknowledgement, results stored."""

from benches.peers.base import Peer

PEER = Peer(
    name="celery-prefork",
    application="benches.apps.celery_app",
    worker=(
        "celery",
        "-A",
        "benches.apps.celery_app",
        "worker",
        "-P",
        "prefork",
        "-c",
        "{concurrency}",
        "-l",
        "WARNING",
    ),
    settings={"acks": "early (its default)", "results": "stored", "pool": "prefork"},
)
