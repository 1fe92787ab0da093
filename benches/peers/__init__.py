"""Who is measured; adding a peer is adding it here, and a module to `benches/apps`."""

from __future__ import annotations

from benches.peers import celery, others, rabbitmq, umbel
from benches.peers.peer import Peer

__all__ = ["ABSENT", "PEERS", "REFERENCE", "Peer"]

PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        umbel.PREFORK,
        umbel.THREADS,
        umbel.SQLITE,
        celery.PREFORK,
        celery.THREADS,
        others.DRAMATIQ,
        others.RQ,
        others.HUEY,
        others.TASKIQ,
        others.ARQ,
        others.SAQ,
        others.CAULI,
        others.TARSK,
        rabbitmq.NATIVE,
        rabbitmq.PIKA,
        rabbitmq.CELERY,
        rabbitmq.BARE,
    )
}

#: What ratios are relative to.
REFERENCE = celery.PREFORK.name

#: Task queues that cannot be installed, and why.
ABSENT = {"potatoq": "not on PyPI"}
