"""From the setting `broker_url` to a broker in Python."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from umbel._native import broker_schemes
from umbel.brokers.base import Broker, BrokerSettings
from umbel.config import import_by_name
from umbel.exceptions import ImproperlyConfigured
from umbel.routing import Queue, Queues

__all__ = ["broker_opener", "broker_settings", "is_native", "open_broker", "queue_as_dict"]

#: Packages announce the schemes of their brokers under this name.
ENTRY_POINTS = "umbel.brokers"

#: Brokers that come with Umbel.
_OURS = {"amqp+pika": "umbel.brokers.pika:PikaBroker", "amqps+pika": "umbel.brokers.pika:PikaBroker"}

#: Settings that a broker may read, beside `task_queues`.
SETTINGS = (
    "broker_connection_timeout",
    "broker_heartbeat",
    "broker_login_method",
    "broker_native_delayed_delivery_queue_type",
    "broker_transport_options",
    "broker_use_ssl",
    "control_exchange",
    "result_expires",
    "task_create_missing_queue_type",
    "task_default_queue_type",
    "task_queue_max_priority",
    "worker_lease",
)


def is_native(url: str | Sequence[str]) -> bool:
    """True if the core itself has the broker, or nobody has. Raises as `broker_opener`."""
    return _class_path(_joined(url)) is None


def broker_settings(conf: Mapping[str, Any], queues: Queues | None = None) -> dict[str, Any]:
    """What a broker in Python is told: `SETTINGS`, and the queues there are."""
    found = {name: conf[name] for name in SETTINGS if name in conf}
    found["task_queues"] = [queue_as_dict(queue) for queue in (queues or {}).values()]
    return found


def queue_as_dict(queue: Queue) -> dict[str, Any]:
    """A queue as brokers are told of it."""
    arguments = dict(queue.queue_arguments or {})
    milliseconds = {"x-expires": queue.expires, "x-message-ttl": queue.message_ttl}
    arguments.update({name: int(seconds * 1000) for name, seconds in milliseconds.items() if seconds is not None})
    if queue.max_priority is not None:
        arguments["x-max-priority"] = queue.max_priority
    return {
        "name": queue.name,
        "exchange": queue.exchange_name,
        "kind": queue.exchange_type,
        "routing_key": queue.routing_key,
        "durable": queue.durable,
        "auto_delete": queue.auto_delete,
        "exclusive": queue.exclusive,
        "arguments": arguments,
    }


def broker_opener(url: str | Sequence[str], settings: Callable[[], BrokerSettings]) -> Callable[[], Broker] | None:
    """What opens the broker at `url`; None if the core does. Nothing is imported or connected yet, and `settings` is
    asked only for a broker in Python.

    Raises:
        ImproperlyConfigured: Two packages claim the scheme.
    """
    path = _class_path(_joined(url))
    return None if path is None else functools.partial(open_broker, path, _joined(url), settings())


def open_broker(path: str, url: str, settings: BrokerSettings) -> Broker:
    """The broker of the class at `path`.

    Raises:
        ImproperlyConfigured: The class cannot be imported or is no broker, or the URL or a setting cannot work.
    """
    try:
        found = import_by_name(path)
    except (ImportError, AttributeError) as error:
        raise ImproperlyConfigured(f"{path!r} cannot be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Broker)):
        raise ImproperlyConfigured(f"{path!r} is no class derived from umbel.brokers.Broker, but {found!r}")
    return found(url, settings)


def _joined(url: str | Sequence[str]) -> str:
    return url if isinstance(url, str) else ";".join(url)


def _class_path(url: str) -> str | None:
    scheme = url.partition("://")[0]
    if scheme == url or scheme.lower() in _native_schemes():
        return None
    if scheme.lower() in _OURS:
        return _OURS[scheme.lower()]
    if "." in scheme or ":" in scheme:
        return scheme
    return _announced(scheme.lower())


@functools.cache
def _native_schemes() -> frozenset[str]:
    return frozenset(broker_schemes())


@functools.cache
def _announced(scheme: str) -> str | None:
    # Slow to import, and rarely needed.
    from importlib import metadata

    found = {point.value for point in metadata.entry_points(group=ENTRY_POINTS) if point.name == scheme}
    if len(found) > 1:
        raise ImproperlyConfigured(f"Several packages announce a broker for {scheme}://: {', '.join(sorted(found))}")
    return found.pop() if found else None
