"""Runs a batch: one call of the function of a `Batches` task for many delivered calls, each with its own outcome."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from umbel import _current
from umbel.exceptions import Retry, SoftTimeLimitExceeded
from umbel.execution.forks import end_fork, fork_count
from umbel.task.batches import SimpleRequest, results_of
from umbel.task.retry import autoretry

if TYPE_CHECKING:
    from umbel._native import ChildLink, Job
    from umbel.execution.runner import TaskRunner
    from umbel.execution.tracer import Tracer
    from umbel.task import Context

__all__ = ["BatchRun", "run_one"]


class Call(NamedTuple):
    """One delivered call."""

    runner: TaskRunner
    request: Context
    args: Any
    kwargs: Any


class BatchRun:
    """Of calls that were accepted by a tracer."""

    def __init__(self, tracer: Tracer, calls: Sequence[Call]) -> None:
        self._tracer = tracer
        # `self.retry()` in the body counts the tries of the first.
        self._calls = sorted(calls, key=lambda call: call.request.retries)
        self._runner = calls[0].runner
        self._started = time.monotonic()

    @classmethod
    def of(cls, tracer: Tracer, first: Call, job: Job, link: ChildLink) -> BatchRun:
        """The call of `job` and those that have started with it. What cannot be run is refused."""
        accepted = [tracer.accept(companion, link) for companion in link.companions(job)]
        return cls(tracer, [first, *(Call(*found) for found in accepted if found is not None)])

    def run(self) -> None:
        """Runs the function and reports an outcome for each call.

        Raises what it raises to end its process, after the reports.
        """
        ready = [call for call in self._calls if self._begin(call)]
        if not ready:
            return
        requests = [SimpleRequest.from_request(call.request) for call in ready]
        raised: BaseException | None = None
        try:
            results = results_of(requests, self._call(ready[0].request, requests))
        except BaseException as error:
            raised = error
            results = [error] * len(ready)
        for call, result in zip(ready, results, strict=True):
            # One that comes when the call has been reported came too late for it, and the others have theirs to come.
            with contextlib.suppress(SoftTimeLimitExceeded):
                self._finish(call, result, raised)
        if raised is not None:
            self._tracer.leave_if_meant(ready[0].request, raised)

    def _begin(self, call: Call) -> bool:
        """What comes before the body; False if that was the end of the call."""
        call.request.started = self._started
        with _pushed(call.request):
            try:
                self._tracer.begin(call)
            except BaseException as error:
                self._end(call, error)
                self._tracer.leave_if_meant(call.request, error)
                return False
        return True

    def _call(self, request: Context, requests: list[SimpleRequest]) -> Any:
        forks = fork_count()
        with _pushed(request):
            try:
                returned = self._runner.call(requests)
            except BaseException as error:
                if fork_count() != forks:
                    end_fork(request.task, request.id, error)
                raise
            if fork_count() != forks:
                end_fork(request.task, request.id, None)
            return returned

    def _finish(self, call: Call, result: Any, raised: BaseException | None) -> None:
        with _pushed(call.request):
            if isinstance(result, BaseException):
                result = self._retried(call, result, raised)
            self._end(call, result)

    def _retried(self, call: Call, error: BaseException, raised: BaseException | None) -> BaseException:
        """The Retry of a call that is to be tried again; else what it failed with."""
        task = call.runner.task
        try:
            if not isinstance(error, Retry):
                autoretry(task, error)
            elif error is raised and call.request._follow_ups is None:
                # The body's `self.retry()` was about one of them.
                if isinstance(error.when, datetime):
                    return task.retry(exc=error.exc, throw=False, eta=error.when)
                return task.retry(exc=error.exc, throw=False, countdown=error.when)
        except BaseException as another:
            return another
        return error

    def _end(self, call: Call, result: Any) -> None:
        self._tracer.end(call, result, self._started)


def run_one(runner: TaskRunner, request: Context) -> Any:
    """Runs the function for one call, in place. Raises what the call failed with."""
    requests = [SimpleRequest.from_request(request)]
    (result,) = results_of(requests, runner.call(requests))
    if isinstance(result, BaseException):
        raise result
    return result


@contextlib.contextmanager
def _pushed(request: Context) -> Iterator[None]:
    """The running request, for a while."""
    token = _current.push_request(request)
    try:
        yield
    finally:
        _current.pop_request(token)
