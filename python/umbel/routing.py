"""Which queue a task goes to: queues and exchanges, and the routes of `task_routes`.

A destination is found in this order: options of the call, then the first route that matches, then the default queue.
Queues on direct exchanges are reached through the anonymous exchange by their name, which needs no binding.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import translate
from typing import Any

from umbel.config.conf import Settings
from umbel.config.sources import import_by_name
from umbel.exceptions import ImproperlyConfigured, QueueNotFound

__all__ = [
    "Destination",
    "Exchange",
    "Queue",
    "Queues",
    "Router",
    "own_queue",
    "own_queue_suffix",
    "queues_from_conf",
    "with_own_queues",
    "worker_direct",
]

#: Follows the name of a queue in that of the one beside it.
_OWN = ".umbel"
#: Brokers that none but Umbel knows: there every queue is its own.
_UNSHARED = ("memory:", "sqlite:")


def own_queue_suffix(broker_url: Any) -> str:
    """What follows the name of a queue in that of the one beside it, which only Umbel's workers consume: for messages
    that Celery's cannot run. Empty where nobody else consumes any."""
    url = broker_url if isinstance(broker_url, str) else next(iter(broker_url or ()), "")
    return "" if not url or url.startswith(_UNSHARED) else _OWN


def own_queue(queue: str, broker_url: Any) -> str:
    """The queue beside this one; itself if it is such a queue."""
    suffix = own_queue_suffix(broker_url)
    return queue if queue.endswith(suffix) else queue + suffix


def with_own_queues(queues: Iterable[str], broker_url: Any) -> list[str]:
    """Queues, and those beside them."""
    names = list(queues)
    return list(dict.fromkeys([*names, *(own_queue(name, broker_url) for name in names)]))


@dataclass
class Exchange:
    """Where messages are published to; "" is the anonymous exchange that leads to the queue of the routing key."""

    name: str = ""
    type: str = "direct"
    durable: bool = True
    auto_delete: bool = False
    delivery_mode: int | str | None = None
    arguments: dict[str, Any] | None = None


@dataclass
class Queue:
    """A queue and its binding. Where exchange and routing key are left out, the defaults of the settings apply."""

    name: str = ""
    exchange: Exchange | str | None = None
    routing_key: str = ""
    durable: bool = True
    exclusive: bool = False
    auto_delete: bool = False
    queue_arguments: dict[str, Any] | None = None
    max_priority: int | None = None
    expires: float | None = None
    message_ttl: float | None = None
    no_ack: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.exchange, str):
            self.exchange = Exchange(self.exchange)

    @property
    def exchange_name(self) -> str:
        """Empty if there is no exchange of its own."""
        return self.exchange.name if isinstance(self.exchange, Exchange) else ""

    @property
    def exchange_type(self) -> str:
        """`direct`, `topic` or `fanout`."""
        return self.exchange.type if isinstance(self.exchange, Exchange) else "direct"


def worker_direct(hostname: str | Queue) -> Queue:
    """The queue of one worker alone, which it consumes if `worker_direct` is set; for `apply_async(queue=...)`.

    Args:
        hostname: The worker's node name, such as `w1@host`; a queue comes back as it is.
    """
    if isinstance(hostname, Queue):
        return hostname
    return Queue(f"{hostname}.dq2", Exchange("C.dq2"), hostname)


class Queues(dict[str, Queue]):
    """Queues by name. A missing one is made on the fly if `create_missing`, else QueueNotFound is raised."""

    def __init__(
        self,
        queues: Iterable[Queue],
        default_exchange: Exchange,
        default_routing_key: str,
        create_missing: bool,
        missing_exchange_type: str | None = None,
    ) -> None:
        super().__init__()
        self._default_exchange = default_exchange
        self._default_routing_key = default_routing_key
        self._create_missing = create_missing
        self._missing_exchange_type = missing_exchange_type
        self._selected: list[str] | None = None
        for queue in queues:
            self.add(queue)

    def add(self, queue: Queue | str) -> Queue:
        """Adds a queue; the defaults fill in what it leaves open."""
        queue = Queue(queue) if isinstance(queue, str) else queue
        if not queue.exchange_name:
            queue.exchange = self._default_exchange
        if not queue.routing_key:
            queue.routing_key = self._default_routing_key
        self[queue.name] = queue
        return queue

    def __missing__(self, name: str) -> Queue:
        if not self._create_missing:
            raise QueueNotFound(
                f"Queue {name!r} is not in task_queues ({', '.join(self) or 'empty'}), "
                "and task_create_missing_queues is off"
            )
        kind = self._missing_exchange_type or self._default_exchange.type
        return self.add(Queue(name, Exchange(name, kind), name))

    def select(self, names: Iterable[str]) -> None:
        """Consume from these alone (`-Q`); missing ones are created or raise QueueNotFound."""
        self._selected = [self[name].name for name in dict.fromkeys(names)]

    def deselect(self, names: Iterable[str]) -> None:
        """Do not consume from these (`-X`)."""
        unwanted = set(names)
        self._selected = [name for name in self.consume_from if name not in unwanted]

    @property
    def consume_from(self) -> dict[str, Queue]:
        """What a worker consumes from: the selected queues, all by default."""
        names = list(self) if self._selected is None else self._selected
        return {name: self[name] for name in names}


def queues_from_conf(conf: Settings) -> Queues:
    """The queues of `task_queues`, or the default queue if that is empty."""
    default = Exchange(conf.task_default_exchange, conf.task_default_exchange_type or "direct")
    given = list(_queues(conf.task_queues))
    if not given:
        given = [Queue(conf.task_default_queue, default, conf.task_default_routing_key)]
    return Queues(
        given,
        default,
        conf.task_default_routing_key,
        bool(conf.task_create_missing_queues),
        conf.task_create_missing_queue_exchange_type,
    )


def _queues(setting: Any) -> Iterator[Queue]:
    if setting is None:
        return
    if isinstance(setting, Mapping):
        for name, options in setting.items():
            yield _queue_from_options(str(name), dict(options or {}))
        return
    for item in [setting] if isinstance(setting, str) else setting:
        yield _queue(item)


def _queue(item: Any) -> Queue:
    if isinstance(item, Queue):
        return item
    if isinstance(item, str):
        return Queue(item)
    if isinstance(item, Mapping) and "name" in item:
        options = dict(item)
        return _queue_from_options(str(options.pop("name")), options)
    if hasattr(item, "name") and hasattr(item, "exchange"):  # kombu's
        return _from_kombu(item)
    raise ImproperlyConfigured(f"task_queues takes Queue objects, names or a dict, not {item!r}")


def _from_kombu(queue: Any) -> Queue:
    theirs = queue.exchange
    exchange = None
    if theirs is not None and theirs.name:
        exchange = Exchange(theirs.name, theirs.type or "direct", delivery_mode=theirs.delivery_mode)
    return Queue(
        queue.name,
        exchange,
        queue.routing_key or "",
        queue_arguments=queue.queue_arguments,
        max_priority=queue.max_priority,
        expires=queue.expires,
        message_ttl=queue.message_ttl,
    )


def _queue_from_options(name: str, options: dict[str, Any]) -> Queue:
    exchange = options.get("exchange")
    if exchange is not None and not isinstance(exchange, str):
        kind, exchange = getattr(exchange, "type", "direct"), exchange.name
    else:
        kind = options.get("exchange_type") or "direct"
    key = options.get("routing_key") or options.get("binding_key") or ""
    return Queue(
        name,
        Exchange(exchange, kind) if exchange else None,
        key,
        queue_arguments=options.get("queue_arguments"),
        max_priority=options.get("max_priority"),
    )


# --- routes


@dataclass(frozen=True)
class Destination:
    """Where a message goes."""

    exchange: str
    routing_key: str
    delivery_mode: int | str | None = None
    #: What a route says besides the destination, such as `priority`.
    options: Mapping[str, Any] = field(default_factory=dict)


class _MapRoute:
    """Routes by exact name, glob or compiled regular expression; exact names first, then in order."""

    def __init__(self, routes: Mapping[Any, Any] | Iterable[tuple[Any, Any]]) -> None:
        self._exact: dict[str, Any] = {}
        self._patterns: list[tuple[re.Pattern[str], Any]] = []
        for key, route in dict(routes).items():
            if isinstance(key, re.Pattern):
                self._patterns.append((key, route))
            elif any(char in key for char in "*?["):
                self._patterns.append((re.compile(translate(key)), route))
            else:
                self._exact[key] = route

    def find(self, name: str) -> Any:
        if name in self._exact:
            return self._exact[name]
        return next((route for pattern, route in self._patterns if pattern.match(name)), None)


class Router:
    """Finds the destination of a task."""

    def __init__(self, routes: Any, queues: Queues, default_queue: str) -> None:
        self._queues = queues
        self._default_queue = default_queue
        self._routes = [_prepare(route) for route in _as_list(routes)]
        #: False if a route depends on more than the name, so that destinations must not be remembered.
        self.by_name_only = all(isinstance(route, _MapRoute) for route in self._routes)

    def route(self, name: str, args: Any, kwargs: Any, options: Mapping[str, Any], task: Any = None) -> Destination:
        """The destination of a call. Raises QueueNotFound for a queue that is missing and may not be created."""
        found = self._lookup(name, args, kwargs, options, task)
        merged = dict(_expand(found)) if found is not None else {}
        merged.update({key: value for key, value in options.items() if value is not None})
        return self._destination(merged)

    def _lookup(self, name: str, args: Any, kwargs: Any, options: Mapping[str, Any], task: Any) -> Any:
        for route in self._routes:
            if isinstance(route, _MapRoute):
                found = route.find(name)
            elif hasattr(route, "route_for_task"):
                found = route.route_for_task(name, args, kwargs)
            else:
                found = route(name, args, kwargs, dict(options), task=task)
            if found is not None:
                return found
        return None

    def _destination(self, options: dict[str, Any]) -> Destination:
        queue = self._queue(options.pop("queue", None) or self._default_queue)
        exchange = options.pop("exchange", None)
        exchange = exchange if exchange is None or isinstance(exchange, str) else exchange.name
        key = options.pop("routing_key", None)
        kind = options.pop("exchange_type", None) or queue.exchange_type
        mode = options.pop("delivery_mode", None)
        if mode is None and isinstance(queue.exchange, Exchange):
            mode = queue.exchange.delivery_mode
        if kind == "direct" and (not exchange or not key):
            return Destination("", queue.name, mode, options)
        if exchange is None:
            return Destination(queue.exchange_name, key or queue.routing_key, mode, options)
        return Destination(exchange, key or "", mode, options)

    def _queue(self, queue: Any) -> Queue:
        if isinstance(queue, str):
            return self._queues[queue]
        known = self._queues.get(queue.name)
        return known if known is not None else self._queues.add(_queue(queue))


def _as_list(routes: Any) -> list[Any]:
    if routes is None:
        return []
    return list(routes) if isinstance(routes, (list, tuple)) else [routes]


def _prepare(route: Any) -> Any:
    if isinstance(route, (Mapping, list, tuple)):
        if isinstance(route, tuple) and len(route) == 2 and isinstance(route[0], (str, re.Pattern)):
            return _MapRoute([route])
        return _MapRoute(route)
    if isinstance(route, str):
        found = import_by_name(route)
        return found() if isinstance(found, type) else found
    if callable(route) or hasattr(route, "route_for_task"):
        return route
    raise ImproperlyConfigured(f"task_routes takes dicts, functions or dotted paths, not {route!r}")


def _expand(route: Any) -> Mapping[str, Any]:
    if isinstance(route, str):
        return {"queue": route}
    if isinstance(route, Mapping):
        return route
    if hasattr(route, "name") and hasattr(route, "exchange"):
        return {"queue": route}
    raise ImproperlyConfigured(f"A route must be a queue name, a Queue or a dict of options, not {route!r}")
