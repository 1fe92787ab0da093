"""What the core is told of RabbitMQ, beyond the URL: settings as options of the transport, and the queues there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from umbel.brokers.opening import queue_as_dict
from umbel.routing import Queues

__all__ = ["transport_options"]

#: Settings that are options of the transport.
_OPTIONS = {
    "broker_connection_timeout": "connect_timeout",
    "broker_heartbeat": "heartbeat",
    "broker_login_method": "login_method",
    "broker_native_delayed_delivery_queue_type": "delay_queue_type",
    "task_create_missing_queue_type": "queue_type",
    "task_queue_max_priority": "queue_max_priority",
}


def transport_options(conf: Mapping[str, Any], queues: Queues) -> dict[str, Any]:
    """`broker_transport_options`, with what else RabbitMQ needs to know where that is the broker."""
    given = dict(conf["broker_transport_options"] or {})
    if not any(_is_rabbitmq(conf[name]) for name in ("broker_read_url", "broker_write_url")):
        return given
    told = {option: conf[name] for name, option in _OPTIONS.items() if conf[name] is not None}
    told["queues"] = {name: _declaration(queue_as_dict(queue)) for name, queue in queues.items()}
    return {**told, **given}


def _declaration(queue: dict[str, Any]) -> dict[str, Any]:
    names = {"exchange": "exchange", "kind": "exchange_type", "routing_key": "routing_key", "arguments": "arguments"}
    return {name: queue[ours] for ours, name in names.items()}


def _is_rabbitmq(url: str | Sequence[str]) -> bool:
    first = url if isinstance(url, str) else next(iter(url), "")
    return first.partition("://")[0].lower() in ("amqp", "amqps", "pyamqp")
