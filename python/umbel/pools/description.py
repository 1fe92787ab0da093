"""What the worker's main process must know of an app that it does not import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from umbel.exceptions import ImproperlyConfigured
from umbel.routing import Queues, queues_from_conf
from umbel.serialization import accepted

if TYPE_CHECKING:
    from umbel._native import TaskDict
    from umbel.app import Umbel
    from umbel.task import Task

# Settings that the main process acts on.
SETTINGS = (
    "accept_content",
    "broker_connection_max_retries",
    "broker_connection_retry",
    "broker_connection_retry_on_startup",
    "broker_read_url",
    "broker_transport_options",
    "broker_url",
    "broker_use_ssl",
    "result_backend",
    "result_backend_transport_options",
    "result_compression",
    "result_expires",
    "result_failure_expires",
    "result_serializer",
    "task_default_queue",
    "task_max_deliveries",
    "task_soft_time_limit",
    "task_time_limit",
    "timezone",
    "worker_concurrency",
    "worker_hijack_root_logger",
    "worker_lease",
    "worker_log_color",
    "worker_log_datefmt",
    "worker_log_format",
    "worker_max_memory_per_child",
    "worker_max_message_bytes",
    "worker_max_tasks_per_child",
    "worker_pool",
    "worker_prefetch_multiplier",
    "worker_redirect_stdouts",
    "worker_redirect_stdouts_level",
    "worker_shutdown_timeout",
    "worker_task_log_datefmt",
    "worker_task_log_format",
)


class QueueBinding(TypedDict):
    """A queue to consume, and how messages reach it."""

    name: str
    exchange: str
    routing_key: str
    kind: Literal["direct", "topic", "fanout"]


@dataclass(frozen=True)
class QueueChoice:
    """`-Q` and `-X`; no names in `only`: all that are configured."""

    only: Sequence[str] = ()
    without: Sequence[str] = ()


@dataclass
class AppDescription:
    """One app, in values that JSON can carry."""

    name: str
    settings: dict[str, Any]
    tasks: list[TaskDict]
    queues: list[QueueBinding]
    #: MIME names.
    accept: list[str]
    #: Names of the threads that importing the app started, besides the main thread.
    threads: list[str] = field(default_factory=list)

    @property
    def task_names(self) -> list[str]:
        """Of the user's tasks, sorted."""
        return sorted(task["name"] for task in self.tasks if not task["name"].startswith("celery."))

    @property
    def queue_names(self) -> list[str]:
        """To consume, in order."""
        return [queue["name"] for queue in self.queues]


def describe(app: Umbel, choice: QueueChoice) -> AppDescription:
    """Reads what is needed off an app whose tasks are all registered.

    Raises:
        QueueNotFound: A chosen queue is not configured and may not be created.
        ImproperlyConfigured: No queue is left, or a setting cannot work.
    """
    return AppDescription(
        name=app.main or "default",
        settings={name: app.conf[name] for name in SETTINGS},
        tasks=[task_entry(task) for task in app.tasks.values()],
        queues=consumed_queues(queues_from_conf(app.conf), choice),
        accept=sorted(accepted(app.conf.accept_content)),
    )


def task_entry(task: Task[..., Any]) -> TaskDict:
    """A row of the engine's task table; limits are the task's own."""
    return {
        "name": str(task.name),
        "acks_late": bool(task.acks_late),
        "acks_on_failure": bool(task.acks_on_failure),
        "acks_on_timeout": bool(task.acks_on_timeout),
        "reject_on_worker_lost": bool(task.reject_on_worker_lost),
        "ignore_result": bool(task.ignore_result),
        "store_errors_even_if_ignored": bool(task.store_errors_even_if_ignored),
        "time_limit": task.time_limit,
        "soft_time_limit": task.soft_time_limit,
    }


def consumed_queues(queues: Queues, choice: QueueChoice) -> list[QueueBinding]:
    """The queues a worker consumes, with their bindings."""
    if choice.only:
        queues.select(choice.only)
    offered = list(queues.consume_from)
    if choice.without:
        queues.deselect(choice.without)
    if not queues.consume_from:
        raise ImproperlyConfigured(f"No queue is left to consume: -X excludes all of {', '.join(offered)}")
    return [
        {
            "name": name,
            "exchange": queue.exchange_name,
            "routing_key": queue.routing_key,
            "kind": queue.exchange_type,
        }
        for name, queue in queues.consume_from.items()
    ]
