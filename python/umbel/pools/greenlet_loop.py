"""What a child of the gevent and eventlet pools does: many jobs in greenlets of one thread.

The main greenlet waits for the link's descriptor through the hub, so that the others run meanwhile, and starts a
bounded number of greenlets at a time. Limits are raised in a greenlet where it waits.
"""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from umbel import _current
from umbel.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from umbel.execution.failure import Revoked
from umbel.execution.tracer import Tracer
from umbel.pools.child import LEAVE, Retirement
from umbel.pools.surroundings import Surroundings

if TYPE_CHECKING:
    from umbel._interfaces import AppInterface
    from umbel._native import ChildLink, Job
    from umbel.app import Umbel
    from umbel.execution.coroutines import LoneRun
    from umbel.execution.runner import TaskRunner
    from umbel.pools.base import PoolOptions

logger = logging.getLogger("umbel.worker")

#: Greenlets started before the others get their turn.
PORTION = 50


class Hub(ABC):
    """What this needs of gevent or eventlet."""

    @abstractmethod
    def spawn(self, work: Callable[..., None], *args: Any) -> None:
        """Starts a greenlet."""

    @abstractmethod
    def current(self) -> Any:
        """The greenlet that runs, for `throw`."""

    @abstractmethod
    def throw(self, greenlet: Any, error: BaseException) -> None:
        """Has `error` raised in a greenlet where it waits; nothing happens if it has ended."""

    @abstractmethod
    def wait_readable(self, descriptor: int) -> None:
        """Lets other greenlets run until the descriptor is readable."""

    @abstractmethod
    def in_thread(self, work: Callable[[], Any]) -> Any:
        """Calls `work` in a thread of the system, and lets other greenlets run meanwhile."""

    def ending(self) -> None:  # noqa: B027, most have nothing to do
        """Called once, when no more jobs come."""


class GreenTracer(Tracer):
    """Runs coroutines in threads: of the greenlets of one thread only one could run an event loop."""

    def __init__(self, app: AppInterface, hostname: str, hub: Hub) -> None:
        super().__init__(app, hostname)
        self._hub = hub
        #: Coroutines that run, by the numbers of their jobs.
        self.lone_runs: dict[int, LoneRun] = {}

    def _new_runner(self, name: str) -> TaskRunner:
        runner = super()._new_runner(name)
        if runner.coroutine is not None:
            runner.call = partial(self._run_in_thread, runner.coroutine)
        return runner

    def _run_in_thread(self, body: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        from umbel.execution.coroutines import LoneRun

        request: Any = _current.current_request()
        run = self.lone_runs[request.job.number] = LoneRun()
        context = copy_context()

        def work() -> tuple[Any, BaseException | None]:
            # The threads of the hubs do not survive every exception.
            try:
                return context.run(run.run, body(*args, **kwargs)), None
            except BaseException as error:
                return None, error

        try:
            value, error = self._hub.in_thread(work)
        finally:
            del self.lone_runs[request.job.number]
        if error is not None:
            raise error
        return value


class GreenletLoop:
    """Runs up to `slots` jobs at a time."""

    def __init__(self, app: Umbel, link: ChildLink, options: PoolOptions, hub: Hub) -> None:
        self._hub = hub
        self._tracer = GreenTracer(app, options.request.hostname, hub)
        self._link = link
        self._slots = options.slots
        self._retirement = Retirement(link, options.max_tasks_per_child, options.max_memory_per_child)
        self._surroundings = Surroundings()
        self._descriptor = link.fileno()
        self._jobs: dict[int, Job] = {}
        #: Of jobs that have begun.
        self._greenlets: dict[int, Any] = {}
        #: Interruptions of jobs that have not: a greenlet that has not begun would be ended by them.
        self._early: dict[int, BaseException] = {}

    def run(self) -> None:
        """Returns when no more jobs come and none runs."""
        ending = False
        while True:
            room = min(self._slots - len(self._jobs), PORTION)
            for job in self._link.take(self._retirement.room(room)):
                self._retirement.begins()
                self._jobs[job.number] = job
                self._hub.spawn(self._run_one, job)
            for number, why in self._link.interruptions():
                self._interrupt(number, why)
            if self._link.is_ending and not ending:
                ending = True
                self._hub.ending()
            if ending and not self._jobs:
                break
            self._hub.wait_readable(self._descriptor)
        self._link.flush()

    def _interrupt(self, number: int, why: Literal["soft", "hard", "revoked"]) -> None:
        job, run = self._jobs.get(number), self._tracer.lone_runs.get(number)
        if job is None:
            return
        hard_limit = self._tracer.hard_limit(job)
        if run is not None:
            run.interrupt(why, hard_limit)
            return
        error: BaseException = SoftTimeLimitExceeded()
        if why == "hard":
            error = TimeLimitExceeded(hard_limit)
        elif why == "revoked":
            error = Revoked("terminated")
        greenlet = self._greenlets.get(number)
        if greenlet is None:
            self._early[number] = error
        else:
            self._hub.throw(greenlet, error)

    def _run_one(self, job: Job) -> None:
        greenlet = self._greenlets[job.number] = self._hub.current()
        early = self._early.pop(job.number, None)
        if early is not None:
            self._hub.throw(greenlet, early)
        try:
            copy_context().run(self._tracer.run, job, self._link)
        except LEAVE as error:
            logger.warning("Child ends, as %s[%s] wants: %r", job.task, job.id, error)
            self._link.retire()
        except (SoftTimeLimitExceeded, TimeLimitExceeded, Revoked):
            # It came in the instant after the outcome had been reported.
            logger.debug("A limit of %s passed as it ended", job.id)
        except BaseException:
            logger.critical("The tracer failed on %s[%s], and the child ends", job.task, job.id, exc_info=True)
            self._link.retire()
        finally:
            self._ended(job)

    def _ended(self, job: Job) -> None:
        del self._jobs[job.number]
        self._greenlets.pop(job.number, None)
        self._early.pop(job.number, None)
        self._surroundings.restore()
        self._retirement.ended()
        # There is room for another.
        os.eventfd_write(self._descriptor, 1)
