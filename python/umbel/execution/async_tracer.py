"""The tracer of pools whose tasks share an event loop; see `umbel.execution.tracer` for the steps."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast

from umbel import _current
from umbel.execution.coroutines import CoroutineRun
from umbel.execution.forks import fork_count
from umbel.execution.runner import TaskRunner
from umbel.execution.storing import LaterLink
from umbel.execution.tracer import Tracer

if TYPE_CHECKING:
    from umbel._interfaces import AppInterface
    from umbel._native import ChildLink, Job
    from umbel.task import Context

__all__ = ["AsyncTracer"]


class AsyncTracer(Tracer):
    """Runs `async def` tasks on the loop of its caller.

    Args:
        turn: Awaited before an outcome is reported, if it returns something: thus a thousand tasks that end at once
            do not hold up the loop.
    """

    def __init__(self, app: AppInterface, hostname: str, turn: Callable[[], Awaitable[object] | None]) -> None:
        super().__init__(app, hostname)
        self._turn = turn
        #: Stores and reports, where results are stored here.
        self._storing: ThreadPoolExecutor | None = None

    def is_coroutine(self, name: str) -> bool:
        """Whether the task of that name is an `async def`; not for batches, each of which has a loop of its own."""
        runner = self._runners.get(name) or (self._new_runner(name) if name in self._tasks else None)
        return runner is not None and runner.coroutine is not None and not runner.batches

    async def run_coroutine(self, job: Job, link: ChildLink, run: CoroutineRun) -> None:
        """As `run`, for a task that `is_coroutine`."""
        if not self._stores_here:
            return await self._run_coroutine(job, link, run)
        if self._storing is None:
            self._storing = ThreadPoolExecutor(1, "umbel-results")
        later = LaterLink(link, self._app.client, self._storing)
        try:
            await self._run_coroutine(job, cast("ChildLink", later), run)
        finally:
            await later.settled()

    async def _run_coroutine(self, job: Job, link: ChildLink, run: CoroutineRun) -> None:
        accepted = self._accepted(job, link)
        if accepted is None:
            return
        runner, request, args, kwargs = accepted
        token = _current.push_request(request)
        try:
            await self._execute_coroutine(runner, request, args, kwargs, run)
        except BaseException as error:
            self._mend(runner, request, error)
        finally:
            _current.pop_request(token)

    async def _execute_coroutine(
        self, runner: TaskRunner, request: Context, args: Any, kwargs: Any, run: CoroutineRun
    ) -> None:
        assert runner.coroutine is not None
        request.started = started = time.monotonic()
        value: Any = None
        state: str | None = None
        forks = fork_count()
        try:
            try:
                self._begin(runner, request, args, kwargs)
                try:
                    value = await run.drive(runner.coroutine(*args, **kwargs))
                finally:
                    if fork_count() == forks and (turn := self._turn()) is not None:
                        await turn
            except BaseException as error:
                value = error
                state = self._body_raised(runner, request, error, forks)
            else:
                state, value = self._succeed(runner, request, value, started, forks)
            if runner.after_return is not None:
                self._after_return(runner, request, state, value)
        finally:
            self._over(runner, request, state, value)
