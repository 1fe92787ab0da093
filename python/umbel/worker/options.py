"""What a worker is told on the command line or in its constructor; None leaves it to the app's settings."""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from umbel.app.concurrency import queue_limits
from umbel.backends.opening import store_opener
from umbel.exceptions import ImproperlyConfigured
from umbel.pools.cpu_count import usable_cpus
from umbel.pools.description import LoadRequest
from umbel.routing import own_queue_suffix, with_own_queues
from umbel.worker.paths import expand_path, node_name


@dataclass(frozen=True)
class WorkerOptions:
    """Times are seconds, memory is KiB. `concurrency` is how many tasks run at once; in pools whose processes run many
    each, that is for one of `processes`. `autoscale` is the most and the least number of processes.
    """

    hostname: str | None = None
    queues: Sequence[str] | None = None
    exclude_queues: Sequence[str] = ()
    concurrency: int | None = None
    pool: str | None = None
    processes: int | None = None
    autoscale: tuple[int, int] | None = None
    loglevel: int = logging.WARNING
    logfile: str | None = None
    pidfile: str | None = None
    color: bool | None = None
    quiet: bool = False
    max_tasks_per_child: int | None = None
    max_memory_per_child: int | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    prefetch_multiplier: int | None = None
    purge: bool = False

    @property
    def node(self) -> str:
        """The node name with its host."""
        return node_name(self.hostname, socket.gethostname())

    @property
    def expanded_logfile(self) -> str | None:
        """Where the log goes, marks filled in."""
        return expand_path(self.logfile, self.node) if self.logfile else None

    @property
    def load_request(self) -> LoadRequest:
        """What the process that imports the app is told."""
        limits = {"task_time_limit": self.time_limit, "task_soft_time_limit": self.soft_time_limit}
        settings = {name: value for name, value in limits.items() if value is not None}
        return LoadRequest(self.node, tuple(self.queues or ()), tuple(self.exclude_queues), settings)

    def slots(self, settings: Mapping[str, Any], pool: str, default: int | None = None) -> int:
        """How many tasks run at once, in each process where a process runs many; `default` None: as CPUs there are."""
        if pool == "solo":
            return 1
        wanted = self.concurrency if self.concurrency is not None else settings["worker_concurrency"]
        if wanted in (None, 0, "auto"):
            return default or usable_cpus()
        try:
            count = int(wanted)
        except (TypeError, ValueError):
            count = 0
        if count < 1:
            raise ImproperlyConfigured(f"Setting worker_concurrency takes a number from 1 on or 'auto', not {wanted!r}")
        return count


def _prefetch_multiplier(options: WorkerOptions, settings: Mapping[str, Any]) -> int | None:
    if settings["worker_disable_prefetch"]:
        return 1
    given = options.prefetch_multiplier
    multiplier: int | None = settings["worker_prefetch_multiplier"] if given is None else given
    return multiplier


def engine_options(
    options: WorkerOptions, settings: Mapping[str, Any], accept: Sequence[str], queues: Sequence[str]
) -> dict[str, Any]:
    """Options of `umbel._native.Worker`; `accept` are MIME names."""
    exchange = f"{settings['control_exchange']}.pidbox" if settings["worker_enable_remote_control"] else None
    found = {
        "hostname": options.node,
        "queues": with_own_queues(queues, settings["broker_read_url"]),
        "own_queue_suffix": own_queue_suffix(settings["broker_read_url"]),
        "timezone": settings["timezone"],
        "accept_content": list(accept),
        "prefetch_multiplier": _prefetch_multiplier(options, settings),
        "max_deliveries": settings["task_max_deliveries"],
        "shutdown_timeout": settings["worker_shutdown_timeout"],
        "result_expires": settings["result_expires"],
        "result_serializer": settings["result_serializer"],
        "result_compression": settings["result_compression"],
        "queue_limits": queue_limits(settings["task_queue_concurrency_limits"] or {}),
        "max_message_bytes": settings["worker_max_message_bytes"],
        "lease": settings["worker_lease"],
        "control_exchange": exchange,
        "broker_transport_options": settings["broker_transport_options"],
        "result_backend_transport_options": settings["result_backend_transport_options"],
        # For what the engine itself has to say of a task: that it expired, or its process died.
        "open_results": store_opener(settings["result_backend"], settings),
    }
    # Without a value the engine's own default holds; two of them mean something when they are None.
    meaningful = ("shutdown_timeout", "max_deliveries", "result_expires")
    return {name: value for name, value in found.items() if value is not None or name in meaningful}
