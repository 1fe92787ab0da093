"""RabbitMQ: Umbel's own client, Umbel through pika, Celery, and what a client without a task queue can do."""

from __future__ import annotations

from benches.peers import celery, umbel
from benches.peers.peer import Peer

_MEASURED = ("publish", "publish-8", "drain-no-results", "latency")
_SETTINGS = {"pool": "prefork -c 2", "acks": "late", "results": "rpc://", "publish": "confirmed, repeated on failure"}

NATIVE = Peer(
    name="umbel-rabbitmq",
    module="umbel_app",
    distributions=("umbel",),
    worker=umbel.PREFORK.worker,
    settings=_SETTINGS,
    store="rabbitmq",
    measured=_MEASURED,
    ours=True,
)
PIKA = Peer(
    name="umbel-pika",
    module="umbel_app",
    distributions=("umbel", "pika"),
    worker=umbel.PREFORK.worker,
    settings=_SETTINGS,
    store="rabbitmq",
    scheme="amqp+pika",
    measured=_MEASURED,
    ours=True,
)
CELERY = Peer(
    name="celery-rabbitmq",
    module="celery_app",
    distributions=("celery", "kombu", "amqp"),
    worker=celery.PREFORK.worker,
    settings={
        "pool": "prefork -c 2",
        "acks": "early (its default)",
        "results": "rpc://",
        "publish": "not confirmed (its default)",
    },
    store="rabbitmq",
    measured=_MEASURED,
)
BARE = Peer(
    name="amqp-bare",
    module="bare_amqp_app",
    distributions=("amqp",),
    worker=("{python}", "-m", "{app}", "{broker}"),
    settings={
        "pool": "none: one process counts messages",
        "acks": "late, 100 at a time",
        "results": "none",
        "publish": "confirmed, a thousand at a time, each encoded beforehand",
    },
    store="rabbitmq",
    measured=("publish", "drain-no-results"),
)
