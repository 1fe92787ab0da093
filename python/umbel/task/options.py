"""Task options: those that fall back on settings, and those that say how messages are sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, TypedDict, TypeVar, cast

__all__ = ["EXECUTION_OPTIONS", "FROM_SETTINGS", "CallOptions", "FromSetting", "from_setting"]

T = TypeVar("T")

#: Task attribute to the setting it falls back on.
FROM_SETTINGS = {
    "serializer": "task_serializer",
    "compression": "task_compression",
    "rate_limit": "task_default_rate_limit",
    "priority": "task_default_priority",
    "time_limit": "task_time_limit",
    "soft_time_limit": "task_soft_time_limit",
    "track_started": "task_track_started",
    "acks_late": "task_acks_late",
    "acks_on_failure_or_timeout": "task_acks_on_failure_or_timeout",
    "acks_on_failure": "task_acks_on_failure",
    "acks_on_timeout": "task_acks_on_timeout",
    "reject_on_worker_lost": "task_reject_on_worker_lost",
    "retry_on_worker_lost": "task_retry_on_worker_lost",
    "ignore_result": "task_ignore_result",
    "store_eager_result": "task_store_eager_result",
    "store_errors_even_if_ignored": "task_store_errors_even_if_ignored",
}

#: Task attributes that become options of every message of the task.
EXECUTION_OPTIONS = (
    "queue",
    "exchange",
    "exchange_type",
    "routing_key",
    "priority",
    "expires",
    "serializer",
    "delivery_mode",
    "compression",
    "time_limit",
    "soft_time_limit",
)


class CallOptions(TypedDict, total=False):
    """What `apply_async` and `send_task` take besides arguments. Durations are seconds."""

    #: Id of the task; a fresh one by default. It is up to the caller that nobody else uses it.
    task_id: str | None
    #: Run it no sooner than this long from now.
    countdown: float | None
    #: Run it no sooner than this moment; a naive one is read in the worker's time zone.
    eta: datetime | str | None
    #: Drop it if it has not started after this long, or at this moment. None overrides the task's own.
    expires: float | datetime | str | None
    #: Hard and soft time limit. None overrides the task's own.
    time_limit: float | None
    soft_time_limit: float | None
    #: Queue name or Queue; an exchange and routing key may be named instead.
    queue: Any
    exchange: Any
    exchange_type: str | None
    routing_key: str | None
    priority: int | None
    #: 2 or "persistent", 1 or "transient".
    delivery_mode: int | str | None
    serializer: str | None
    compression: str | None
    #: On whose behalf: calls of one key cannot keep those of another waiting. For tasks with the option of that name.
    fair_key: str | None
    #: Custom headers; the task sees them in `request.headers`.
    headers: Mapping[str, Any] | None
    #: Name shown in logs in place of the task's.
    shadow: str | None
    ignore_result: bool | None
    #: Text shown in monitors in place of the arguments, for example when they are secret.
    argsrepr: str | None
    kwargsrepr: str | None
    #: Repeat a publish that fails, and how (`task_publish_retry_policy`).
    retry: bool | None
    retry_policy: Mapping[str, Any] | None
    #: Signatures, as dicts, of tasks to run after success and after failure.
    link: Any
    link_error: Any
    #: Remaining steps of a chain, last step first, and the chord body this task counts towards.
    chain: Sequence[Any] | None
    chord: Any
    group_id: str | None
    group_index: int | None
    root_id: str | None
    parent_id: str | None
    retries: int | None
    reply_to: str | None
    correlation_id: str | None
    origin: str | None
    replaced_task_nesting: int
    stamped_headers: Sequence[str] | None
    #: Inside a task: list the result among the running task's children.
    add_to_parent: bool
    #: Accepted for Celery's sake: connections are the core's business.
    producer: Any
    connection: Any
    #: Life of the message in the broker, where the broker can do that.
    expiration: float | None
    #: More message properties.
    message_id: str
    app_id: str
    user_id: str
    type: str
    timestamp: int


_JOINT = {"acks_on_failure": "acks_on_failure_or_timeout", "acks_on_timeout": "acks_on_failure_or_timeout"}


class FromSetting(Generic[T]):
    """A task attribute that has the value of a setting until a task, or a base class of tasks, gives it one."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name
        self._setting = FROM_SETTINGS[name]

    def __get__(self, task: Any, owner: type[Any]) -> T:
        if task is None:
            # Celery's value on the class.
            return cast(T, None)
        joint = _JOINT.get(self._name)
        if joint is not None and not isinstance(_raw(task, joint), FromSetting):
            return cast(T, getattr(task, joint))
        return cast(T, task.app.conf[self._setting])


def from_setting() -> Any:
    """A `FromSetting`, typed so that subclasses may give the option a plain value."""
    return FromSetting()


def _raw(task: Any, name: str) -> Any:
    """The attribute without descriptors being asked."""
    if name in task.__dict__:
        return task.__dict__[name]
    return next((cls.__dict__[name] for cls in type(task).__mro__ if name in cls.__dict__), None)
