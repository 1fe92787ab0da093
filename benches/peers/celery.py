"""Celery with its defaults."""

from __future__ import annotations

from benches.peers.peer import Peer

_WORKER = ("{python}", "-m", "celery", "-A", "{app}", "worker", "-c", "{slots}", "-l", "WARNING", "-P")
_SETTINGS = {"acks": "early (its default)", "results": "stored, announced", "publish": "repeated on failure"}

PREFORK = Peer(
    name="celery-prefork",
    module="celery_app",
    distributions=("celery", "kombu", "redis"),
    worker=(*_WORKER, "prefork"),
    settings={"pool": "prefork -c 2", **_SETTINGS},
    far=True,
    workflows=True,
)
THREADS = Peer(
    name="celery-threads",
    module="celery_app",
    distributions=("celery", "kombu", "redis"),
    worker=(*_WORKER, "threads"),
    settings={"pool": "threads -c 2", **_SETTINGS},
    publishes=False,
)
