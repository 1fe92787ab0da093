"""What can be known of a task's messages before it is called: worked out once, used by every call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from umbel import _native
from umbel.app.call import Call
from umbel.config import Settings
from umbel.exceptions import ImproperlyConfigured
from umbel.routing import Destination, Router
from umbel.serialization import by_name
from umbel.task.options import EXECUTION_OPTIONS
from umbel.task.task import Task

if TYPE_CHECKING:
    from umbel.app.keys import CallKey
    from umbel.app.unique import Uniqueness

__all__ = ["Encoding", "Plan"]


class Encoding:
    """A serializer with the content type and encoding it writes."""

    __slots__ = ("content_encoding", "content_type", "encode")

    def __init__(self, serializer: str) -> None:
        codec = by_name(serializer)
        self.content_type = codec.content_type
        self.content_encoding = codec.content_encoding
        self.encode: Callable[[Any], bytes] = _native.json_dumps if serializer == "json" else codec.dumps


class Plan:
    """Of one task, or of tasks known by name only (`task` None). Valid while `version` is that of the settings."""

    __slots__ = (
        "always_eager",
        "call",
        "concurrency_key",
        "defaults",
        "delivery_mode",
        "destination",
        "encoding",
        "exchange",
        "fair_key",
        "ignore_result",
        "name",
        "plain_delivery_mode",
        "routing_key",
        "shadow_name",
        "task",
        "template",
        "unique",
        "version",
    )

    def __init__(self, name: str, task: Task[..., Any] | None, conf: Settings, router: Router) -> None:
        self.name = name
        self.task = task
        self.version = conf.version
        self.always_eager = bool(conf.task_always_eager) and task is not None
        self.defaults = _defaults(task, conf)
        self.encoding = Encoding(self.defaults.get("serializer") or conf.task_serializer)
        self.ignore_result: bool | None = task.ignore_result if task is not None else None
        self.delivery_mode = delivery_mode(conf.task_default_delivery_mode)
        overridden = task is not None and type(task).shadow_name is not Task.shadow_name
        self.shadow_name = task.shadow_name if task is not None and overridden else None
        check_limits(self.defaults)
        #: None: the task may be sent at any time.
        self.unique: Uniqueness | None = None
        if task is not None and (task.unique or task.debounce):
            from umbel.app.unique import uniqueness_of

            self.unique = uniqueness_of(task)
        #: None: its messages tell no key.
        self.concurrency_key: CallKey | None = None
        if task is not None and (task.concurrency_limit is not None or task.concurrency_key is not None):
            from umbel.app.concurrency import key_of

            self.concurrency_key = key_of(task)
        #: True: each call says it. None: first come, first served.
        self.fair_key: CallKey | bool | None = None
        if task is not None and task.fair_key is not None:
            from umbel.app.keys import CallKey

            self.fair_key = task.fair_key is True or CallKey.of(task, "fair_key")
        #: Options every call of this task has, when the caller gives none.
        self.call = Call(self.defaults)
        #: None if a route looks at the arguments.
        self.destination: Destination | None = None
        if router.by_name_only:
            self.destination = router.route(name, (), {}, self.defaults_for_routing(), task)
            by_route = self.destination.options.get("serializer")
            if by_route and "serializer" not in self.defaults:
                self.encoding = Encoding(by_route)

        #: Headers of a call without options; None if such a call is not all alike.
        self.template: dict[str, Any] | None = None
        self.exchange = self.routing_key = ""
        self.plain_delivery_mode = self.delivery_mode
        if self.destination is not None and self._plain(self.destination):
            self.template = self._headers()
            self.exchange, self.routing_key = self.destination.exchange, self.destination.routing_key
            mode = self.call.delivery_mode or self.destination.delivery_mode
            if mode is not None:
                self.plain_delivery_mode = delivery_mode(mode)

    def _plain(self, destination: Destination) -> bool:
        """True if nothing about a call without options depends on the clock, the arguments or the body."""
        route = destination.options.keys() - {"serializer"}
        same = self.call.expires is None and self.call.compression is None and self.shadow_name is None
        return same and self.concurrency_key is None and self.fair_key is None and not route

    def _headers(self) -> dict[str, Any]:
        """Protocol 2's, in Celery's order."""
        call = self.call
        return {
            "lang": "py",
            "task": self.name,
            "id": None,
            "shadow": None,
            "eta": None,
            "expires": None,
            "group": None,
            "group_index": None,
            "retries": 0,
            "timelimit": [call.time_limit, call.soft_time_limit],
            "root_id": None,
            "parent_id": None,
            "argsrepr": None,
            "kwargsrepr": None,
            "origin": None,
            "ignore_result": self.ignore_result,
            "replaced_task_nesting": 0,
            "stamped_headers": None,
            "stamps": {},
        }

    def defaults_for_routing(self) -> dict[str, Any]:
        """The task's own destination, if it names one."""
        return {name: self.defaults[name] for name in _ROUTING if name in self.defaults}


_ROUTING = ("queue", "exchange", "exchange_type", "routing_key", "delivery_mode")


def _defaults(task: Task[..., Any] | None, conf: Settings) -> dict[str, Any]:
    if task is None:
        found: dict[str, Any] = {"compression": conf.task_compression, "priority": conf.task_default_priority}
    else:
        found = {name: getattr(task, name, None) for name in EXECUTION_OPTIONS}
    return {name: value for name, value in found.items() if value is not None}


def check_limits(options: Mapping[str, Any]) -> None:
    """Raises ValueError if the soft time limit is above the hard one."""
    hard, soft = options.get("time_limit"), options.get("soft_time_limit")
    if hard and soft and soft > hard:
        raise ValueError(f"soft_time_limit ({soft}) must be less than or equal to time_limit ({hard})")


def delivery_mode(value: Any) -> int:
    """1 or 2 for the words and numbers kombu takes. Raises ImproperlyConfigured."""
    modes = {"persistent": 2, "transient": 1, 2: 2, 1: 1, "2": 2, "1": 1, None: 2}
    try:
        return modes[value]
    except (KeyError, TypeError):
        raise ImproperlyConfigured(f"delivery_mode takes 1, 2, 'transient' or 'persistent', not {value!r}") from None
