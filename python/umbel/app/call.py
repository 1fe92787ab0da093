"""The options of one call, checked and sorted: what becomes a header, a property, part of the body, the destination."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["Call"]

#: What kombu's `publish` takes besides; the core decides these things itself.
_NOT_SENT = frozenset(
    {"add_to_parent", "confirm_timeout", "connection", "declare", "event_dispatcher", "immediate", "mandatory",
     "producer", "publisher", "result_cls", "retry", "retry_policy", "route_name", "router", "task_type", "timeout"}
)  # fmt: skip


class Call:
    """Options of `apply_async`, as attributes. Those of the class are what a call without options has."""

    task_id: str | None = None
    countdown: float | None = None
    eta: Any = None
    expires: Any = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    queue: Any = None
    exchange: Any = None
    exchange_type: str | None = None
    routing_key: str | None = None
    priority: int | None = None
    delivery_mode: Any = None
    serializer: str | None = None
    compression: str | None = None
    headers: Mapping[str, Any] | None = None
    shadow: str | None = None
    ignore_result: bool | None = None
    argsrepr: str | None = None
    kwargsrepr: str | None = None
    link: Any = None
    link_error: Any = None
    chain: Any = None
    chord: Any = None
    group_id: str | None = None
    group_index: int | None = None
    root_id: str | None = None
    parent_id: str | None = None
    retries: int = 0
    reply_to: str | None = None
    correlation_id: str | None = None
    origin: str | None = None
    #: Life of the message in the broker, seconds; unlike `expires` it is not for the worker.
    expiration: float | None = None
    fair_key: str | None = None
    replaced_task_nesting: int = 0
    stamped_headers: Any = None

    #: Stamp name to value.
    stamps: Mapping[str, Any]
    #: Further message properties.
    properties: Mapping[str, Any]
    #: True if the caller named the destination, wholly or in part.
    routed: bool = False

    def __init__(self, options: Mapping[str, Any]) -> None:
        fields = self.__dict__
        fields["stamps"] = fields["properties"] = _NOTHING
        extra: dict[str, Any] = {}
        for name, value in options.items():
            if value is None:
                continue
            if name in _FIELDS:
                fields[name] = value
            elif name not in _NOT_SENT:
                extra[name] = value
        if extra:
            self._sort_extra(extra)
        self.routed = any(name in fields for name in _ROUTING)

    def _sort_extra(self, extra: dict[str, Any]) -> None:
        names = self.stamped_headers or ()
        self.stamps = {name: extra.pop(name) for name in list(extra) if name in names}
        self.properties = extra

    def routing_options(self) -> dict[str, Any]:
        """What the caller and the task say about the destination."""
        return {name: self.__dict__[name] for name in _ROUTING if name in self.__dict__}


_NOTHING: Mapping[str, Any] = {}
_FIELDS = frozenset(Call.__annotations__) - {"stamps", "properties", "routed"}
_ROUTING = ("queue", "exchange", "exchange_type", "routing_key", "delivery_mode")
