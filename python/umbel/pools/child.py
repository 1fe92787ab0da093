"""What every child does: take a job, run it, report, until told to stop or until a limit of its own is reached."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from umbel.exceptions import SoftTimeLimitExceeded, WorkerShutdown, WorkerTerminate
from umbel.pools.memory import resident_kib

if TYPE_CHECKING:
    from umbel._native import ChildLink, Job

#: A task that raises one of these means its worker: a child process ends, a pool in the main process stops the worker.
LEAVE = (KeyboardInterrupt, WorkerShutdown, WorkerTerminate)

logger = logging.getLogger("umbel.worker")


class Tracer(Protocol):
    """Runs one job and reports its outcome to the link; see `umbel.execution.tracer`."""

    def run(self, job: Job, link: ChildLink) -> None: ...


class JobLoop:
    """Runs the jobs of one thread.

    Args:
        max_tasks: Retire after so many finished tasks.
        max_memory: Retire once the process holds more than this after a task (KiB).
    """

    def __init__(
        self,
        tracer: Tracer,
        link: ChildLink,
        max_tasks: int | None = None,
        max_memory: int | None = None,
        memory: Callable[[], int] = resident_kib,
    ) -> None:
        self._tracer = tracer
        self._link = link
        self._max_tasks = max_tasks
        self._max_memory = max_memory
        self._memory = memory
        #: Called after each task.
        self.after_task: Callable[[], None] = _nothing
        self._retired = False
        self.finished = 0
        #: Id of the job that runs now.
        self.current: str | None = None

    def run(self) -> None:
        """Returns when the main process said stop or is gone, or after retirement.

        Raises what a task raises to end its worker (`LEAVE`), after its outcome was written.
        """
        while (job := self._link.next()) is not None:
            self._run_one(job)
            self.after_task()
            self.finished += 1
            if not self._retired and (why := self._limit_reached()):
                logger.info("Child is replaced: %s", why)
                self._retired = True
                self._link.retire()
        self._link.flush()

    def on_soft_limit(self, *_: object) -> None:
        """Signal handler: interrupts the job whose soft time limit passed, if it still runs."""
        limited = self._link.soft_limit_job()
        if limited is not None and limited == self.current:
            raise SoftTimeLimitExceeded

    def _run_one(self, job: Job) -> None:
        self.current = job.id
        try:
            self._tracer.run(job, self._link)
        except SoftTimeLimitExceeded:
            # The signal came in the instant after the outcome had been reported.
            logger.debug("Soft time limit of %s passed as it ended", job.id)
        finally:
            self.current = None

    def _limit_reached(self) -> str | None:
        if self._max_tasks is not None and self.finished >= self._max_tasks:
            return f"it has run {self.finished} tasks"
        if self._max_memory is not None and (held := self._memory()) > self._max_memory:
            return f"it holds {held} KiB, the limit is {self._max_memory} KiB"
        return None


def _nothing() -> None:
    pass
