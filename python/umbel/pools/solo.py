"""The solo pool: tasks run one by one in the thread that called `run`, the main thread as a rule.

Debuggers, signal-based libraries and profilers work there; the supervisor's loop has a thread of its own.
"""

from __future__ import annotations

import logging
import os
import queue

from umbel import signals
from umbel.execution.tracer import Tracer
from umbel.pools.base import AppSource, MainThreadPool
from umbel.pools.threads import InProcessPool, SharedLink

logger = logging.getLogger("umbel.worker")


class SoloPool(InProcessPool, MainThreadPool):
    """`-P solo`."""

    name = "solo"

    default_concurrency = 1

    def __init__(self, source: AppSource) -> None:
        super().__init__(source)
        self._links: queue.SimpleQueue[SharedLink | None] = queue.SimpleQueue()

    def spawn(self) -> None:
        self._links.put(self._open_link())

    def run_tasks(self) -> None:
        """Runs tasks in the calling thread until the pool is closed."""
        signals.worker_process_init.send(sender=self._hostname)
        tracer = Tracer(self._app, self._hostname)
        while (shared := self._links.get()) is not None:
            self._run_loop(tracer, shared)
        signals.worker_process_shutdown.send(sender=self._hostname, pid=os.getpid(), exitcode=0)

    def close(self) -> None:
        self._links.put(None)
