"""What every child does: take a job, run it, report, until told to stop or until a limit of its own is reached."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from contextvars import copy_context
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


class Retirement:
    """Has a child replaced at its limits. The replacement is asked for before the last task runs; a process that has
    grown works on until its replacement is there.

    Args:
        max_tasks: Tasks to be run; more are not begun.
        max_memory: KiB the process may hold after a task.
    """

    def __init__(
        self,
        link: ChildLink,
        max_tasks: int | None = None,
        max_memory: int | None = None,
        memory: Callable[[], int] = resident_kib,
    ) -> None:
        self._link = link
        self._max_tasks = max_tasks
        self._max_memory = max_memory
        self._memory = memory
        self._begun = 0
        self._retired = False

    def room(self, wanted: int) -> int:
        """How many of `wanted` tasks may still begin here."""
        return wanted if self._max_tasks is None else max(0, min(wanted, self._max_tasks - self._begun))

    def begins(self) -> None:
        """A task is about to begin."""
        self._begun += 1
        if self._max_tasks is not None and self._begun == self._max_tasks:
            self._retired = True
            logger.info("Child is replaced: it runs its task number %d, the last", self._begun)
            self._link.retire()

    def ended(self) -> None:
        """A task has ended."""
        if self._max_memory is not None and not self._retired and (held := self._memory()) > self._max_memory:
            self._retired = True
            logger.info("Child is replaced: it holds %d KiB, the limit is %d KiB", held, self._max_memory)
            self._link.ask_for_relief()


class JobLoop:
    """Runs the jobs of one thread, each in a copy of the thread's context: what a task sets in context variables is
    gone when it ends.
    """

    def __init__(self, tracer: Tracer, link: ChildLink, retirement: Retirement | None = None) -> None:
        self._tracer = tracer
        self._link = link
        self._retirement = retirement
        #: Called after each task.
        self.after_task: Callable[[], None] = _nothing
        self.finished = 0
        #: Id of the job that runs now.
        self.current: str | None = None

    def run(self) -> None:
        """Returns when the main process said stop or is gone, or after retirement.

        Raises what a task raises to end its worker (`LEAVE`), after its outcome was written.
        """
        retirement = self._retirement
        while (job := self._link.next()) is not None:
            if retirement is not None:
                retirement.begins()
            self._run_one(job)
            self.after_task()
            self.finished += 1
            if retirement is not None:
                retirement.ended()
        self._link.flush()

    def on_soft_limit(self, *_: object) -> None:
        """Signal handler: interrupts the job whose soft time limit passed, if it still runs."""
        limited = self._link.soft_limit_job()
        if limited is not None and limited == self.current and not _interrupted_coroutine():
            raise SoftTimeLimitExceeded

    def _run_one(self, job: Job) -> None:
        self.current = job.id
        try:
            copy_context().run(self._tracer.run, job, self._link)
        except SoftTimeLimitExceeded:
            # The signal came in the instant after the outcome had been reported.
            logger.debug("Soft time limit of %s passed as it ended", job.id)
        finally:
            self.current = None


def _interrupted_coroutine() -> bool:
    """Whether the running task is a coroutine that waits, and has been told there."""
    # Where no `async def` task has run, asyncio need not be imported.
    coroutines = sys.modules.get("umbel.execution.coroutines")
    return coroutines is not None and bool(coroutines.interrupt_alone())


def _nothing() -> None:
    pass
