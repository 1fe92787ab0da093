"""What the worker's main process must know of an app that it does not import."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypedDict, cast

from umbel import signals
from umbel.app.concurrency import checked_limit
from umbel.backends.opening import is_native, store_settings
from umbel.brokers.opening import broker_settings
from umbel.brokers.opening import is_native as is_native_broker
from umbel.brokers.rabbitmq import transport_options
from umbel.config import Settings
from umbel.exceptions import ImproperlyConfigured
from umbel.execution.runner import hook_of
from umbel.pools.worker_signals import wanted_signals
from umbel.routing import Queue, Queues, queues_from_conf, worker_direct
from umbel.serialization import accepted
from umbel.utils.time import rate

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
    "control_exchange",
    "result_backend",
    "result_backend_transport_options",
    "result_compression",
    "result_expires",
    "result_failure_expires",
    "result_persistent",
    "result_serializer",
    "revoke_expires",
    "task_default_queue",
    "task_max_deliveries",
    "task_queue_concurrency_limits",
    "task_serializer",
    "timezone",
    "worker_autoscaler",
    "worker_concurrency",
    "worker_disable_prefetch",
    "worker_enable_remote_control",
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
    "worker_processes",
    "worker_redirect_stdouts",
    "worker_redirect_stdouts_level",
    "worker_shutdown_timeout",
    "worker_soft_shutdown_timeout",
    "worker_task_log_datefmt",
    "worker_task_log_format",
)


ExchangeKind = Literal["direct", "topic", "fanout"]


class QueueBinding(TypedDict):
    """A queue to consume, and how messages reach it."""

    name: str
    exchange: str
    routing_key: str
    kind: ExchangeKind


@dataclass(frozen=True)
class LoadRequest:
    """How the app is to be loaded: as which node, with which queues (`-Q`, `-X`; none: all) and changed settings."""

    hostname: str
    queues: Sequence[str] = ()
    exclude_queues: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class AppDescription:
    """One app, in values that JSON can carry."""

    name: str
    settings: dict[str, Any]
    tasks: list[TaskDict]
    queues: list[QueueBinding]
    #: MIME names.
    accept: list[str]
    #: Names of the signals that the main process has to tell of (`umbel.pools.worker_signals`) and somebody listens to.
    signals: list[str] = field(default_factory=list)
    #: Names of the threads that importing the app started, besides the main thread.
    threads: list[str] = field(default_factory=list)

    @property
    def task_names(self) -> list[str]:
        """Of the user's tasks, sorted."""
        return sorted(task["name"] for task in self.tasks if not task["name"].startswith(("celery.", "umbel.")))

    @property
    def queue_names(self) -> list[str]:
        """To consume, in order."""
        return [queue["name"] for queue in self.queues]


def describe(app: Umbel, request: LoadRequest) -> AppDescription:
    """Reads what is needed off an app whose tasks are all registered.

    Raises:
        QueueNotFound: A chosen queue is not configured and may not be created.
        ImproperlyConfigured: No queue is left, or a setting cannot work.
    """
    return AppDescription(
        name=app.main or "default",
        settings={
            **_store_settings(app.conf),
            **_broker_settings(app.conf),
            **{name: app.conf[name] for name in SETTINGS},
            **_urls(app.conf),
            "broker_transport_options": transport_options(app.conf, queues_from_conf(app.conf)),
        },
        tasks=[task_entry(task) for task in app.tasks.values()],
        queues=[
            *consumed_queues(queues_from_conf(app.conf), request.queues, request.exclude_queues),
            *([_binding(worker_direct(request.hostname))] if app.conf.worker_direct else []),
        ],
        accept=sorted(accepted(app.conf.accept_content)),
        signals=wanted_signals(),
    )


def _store_settings(conf: Settings) -> dict[str, Any]:
    """What the main process needs to open a result store in Python, as far as JSON can carry it."""
    if is_native(conf.result_backend):
        return {}
    return {name: value for name, value in store_settings(conf).items() if _is_plain(value)}


def _broker_settings(conf: Settings) -> dict[str, Any]:
    """What the main process needs to open a broker in Python, likewise."""
    if is_native_broker(conf.broker_read_url) and is_native_broker(conf.broker_write_url):
        return {}
    return {name: value for name, value in broker_settings(conf, queues_from_conf(conf)).items() if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


def _urls(conf: Settings) -> dict[str, str | None]:
    """As the core takes them: alternates joined, results that go nowhere as None."""
    results = conf.result_backend
    return {
        **{name: _joined(conf[name]) for name in ("broker_url", "broker_read_url", "broker_write_url")},
        "result_backend": None if not results or str(results).startswith("disabled") else str(results),
    }


def _joined(url: str | Sequence[str]) -> str:
    return url if isinstance(url, str) else ";".join(url)


def task_entry(task: Task[..., Any]) -> TaskDict:
    """A row of the engine's task table."""
    entry: TaskDict = {
        "name": str(task.name),
        "acks_late": bool(task.acks_late),
        "acks_on_failure": bool(task.acks_on_failure),
        "acks_on_timeout": bool(task.acks_on_timeout),
        "reject_on_worker_lost": bool(task.reject_on_worker_lost),
        "ignore_result": bool(task.ignore_result),
        "store_errors_even_if_ignored": bool(task.store_errors_even_if_ignored),
        "time_limit": task.time_limit,
        "soft_time_limit": task.soft_time_limit,
        "rate_limit": _rate_of(task),
        "rate_limit_shared": _is_shared(task),
        "fair": task.fair_key is not None,
        "concurrency_limit": checked_limit(task),
        "concurrency_keyed": task.concurrency_key is not None,
        "unique": bool(task.unique or task.debounce),
        "tells_failures": _tells_failures(task),
    }
    if task.flush_every is not None:
        from umbel.task.batches import batch_options  # Few programs have such tasks.

        entry["flush_every"], entry["flush_interval"] = batch_options(task)
    return entry


def _tells_failures(task: Task[..., Any]) -> bool:
    """Whether code of the application is to be called when it fails."""
    hooks = (hook_of(task, "on_failure"), hook_of(task, "after_return"))
    return any(hooks) or bool(signals.task_failure.receivers)


def _rate_of(task: Task[..., Any]) -> float:
    """Tasks a second; 0: without limit. Raises ImproperlyConfigured."""
    if task.app.conf.worker_disable_rate_limits:
        return 0.0
    try:
        return rate(task.rate_limit)
    except ValueError as error:
        raise ImproperlyConfigured(f"Task {task.name}: rate_limit {error}") from error


def _is_shared(task: Task[..., Any]) -> bool:
    """Whether the rate limit is that of all workers together. Raises ImproperlyConfigured."""
    if task.rate_limit_scope not in ("worker", "cluster"):
        raise ImproperlyConfigured(
            f"Task {task.name}: rate_limit_scope is 'worker' or 'cluster', not {task.rate_limit_scope!r}"
        )
    return bool(task.rate_limit_scope == "cluster")


def consumed_queues(queues: Queues, only: Sequence[str] = (), without: Sequence[str] = ()) -> list[QueueBinding]:
    """The queues a worker consumes, with their bindings: `only` these, or all, `without` those."""
    if only:
        queues.select(only)
    offered = list(queues.consume_from)
    if without:
        queues.deselect(without)
    chosen = queues.consume_from
    if not chosen:
        raise ImproperlyConfigured(f"No queue is left to consume: -X excludes all of {', '.join(offered)}")
    return [_binding(queue) for queue in chosen.values()]


def _binding(queue: Queue) -> QueueBinding:
    return {
        "name": queue.name,
        "exchange": queue.exchange_name,
        "routing_key": queue.routing_key,
        "kind": cast(ExchangeKind, queue.exchange_type),
    }
