"""RabbitMQ through pika: `amqp+pika://user:password@host:5672/vhost`, the fallback for what the core's own client does
not reach. Queues, exchanges and messages are Celery's.

Each handle has a connection of its own. pika's loop runs in the thread that uses the handle, as long as a call takes,
and at least at every heartbeat of a consumer.
"""

from __future__ import annotations

from umbel.exceptions import missing

try:
    import pika  # noqa: F401, looked for here so that the error says what to install
except ImportError as error:
    raise missing("amqp+pika://", "pika", "pika") from error

from umbel.brokers.pika.broker import PikaBroker

__all__ = ["PikaBroker"]
