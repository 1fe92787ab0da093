"""Running the coroutines of `async def` tasks so that time limits and revocations reach them.

A soft time limit is raised where the coroutine waits. What is raised is a `SoftTimeLimitExceeded` that is a
`CancelledError` too, so that both `except SoftTimeLimitExceeded` and what asyncio itself does when it is cancelled
(task groups, timeouts, finally clauses) work. A hard limit and a revocation cancel.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Literal

from umbel.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from umbel.execution.failure import Revoked

__all__ = ["CoroutineRun", "Interruption", "LoneRun", "interrupt_alone", "run_alone"]

Interruption = Literal["soft", "hard", "revoked"]

_here = threading.local()


class _SoftLimit(SoftTimeLimitExceeded, asyncio.CancelledError):
    """What a coroutine sees."""


class CoroutineRun:
    """One coroutine, driven by the asyncio task that awaits `drive`. All methods belong to the loop's thread."""

    __slots__ = ("_hard_limit", "_pending", "_task", "_thrown", "_why")

    def __init__(self) -> None:
        self._hard_limit: float | None = None
        self._task: asyncio.Task[Any] | None = None
        self._pending: _SoftLimit | None = None
        self._thrown: _SoftLimit | None = None
        self._why: Interruption | None = None

    def interrupt(self, why: Interruption, hard_limit: float | None = None) -> None:
        """Raises the soft limit in the coroutine, or cancels it; `hard_limit` in seconds is for `TimeLimitExceeded`.
        Nothing happens when it has ended.
        """
        if why == "soft":
            if self._why is not None:
                return
            self._pending = _SoftLimit()
        else:
            self._why, self._hard_limit = why, hard_limit
        if self._task is not None:
            self._task.cancel()

    async def drive(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Awaits the coroutine.

        Raises:
            SoftTimeLimitExceeded: It let that pass.
            TimeLimitExceeded: It was cancelled for its hard limit.
            Revoked: It was cancelled for a revocation.
        """
        self._task = asyncio.current_task()
        if self._pending is not None or self._why is not None:
            # The limit has passed before the first step.
            assert self._task is not None
            self._task.cancel()
        try:
            return await _Steps(coroutine, self._replacement)
        except asyncio.CancelledError as error:
            if error is self._thrown:
                raise SoftTimeLimitExceeded(*error.args).with_traceback(error.__traceback__) from error.__cause__
            if self._why == "hard":
                raise TimeLimitExceeded(self._hard_limit).with_traceback(error.__traceback__) from None
            if self._why == "revoked":
                raise Revoked("terminated").with_traceback(error.__traceback__) from None
            raise
        except BaseException as error:
            if self._thrown is not None and _only_holds(error, self._thrown):
                raise SoftTimeLimitExceeded(*self._thrown.args).with_traceback(error.__traceback__) from error
            raise
        finally:
            self._task = None

    def _replacement(self) -> _SoftLimit | None:
        """What the coroutine gets in place of a cancellation, if that was for its soft limit."""
        pending, self._pending = self._pending, None
        if pending is None or self._why is not None:
            return None
        self._thrown = pending
        # Python 3.10 keeps no count of cancellations.
        uncancel: Callable[[], int] | None = getattr(self._task, "uncancel", None)
        if uncancel is not None:
            uncancel()
        return pending


class _Steps:
    """Passes everything through between a coroutine and its asyncio task but cancellations, which may be replaced."""

    __slots__ = ("_coroutine", "_replacement")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], replacement: Callable[[], _SoftLimit | None]) -> None:
        self._coroutine = coroutine
        self._replacement = replacement

    def __await__(self) -> Generator[Any, Any, Any]:
        coroutine = self._coroutine
        value: Any = None
        error: BaseException | None = None
        while True:
            try:
                if error is None:
                    waits_for = coroutine.send(value)
                else:
                    thrown, error = error, None
                    waits_for = coroutine.throw(thrown)
            except StopIteration as stop:
                return stop.value
            try:
                value = yield waits_for
            except asyncio.CancelledError as cancelled:
                error = self._replacement() or cancelled
            except BaseException as raised:
                error = raised


def _only_holds(error: BaseException, thrown: BaseException) -> bool:
    """Whether `error` is a group (of a task group that was interrupted) with nothing else in it."""
    members = getattr(error, "exceptions", None)
    if not isinstance(members, tuple) or not members:
        return False
    return all(member is thrown or _only_holds(member, thrown) for member in members)


# --- pools without a loop


class LoneRun:
    """One coroutine on an event loop of its own. It may be interrupted from another thread, or a signal handler."""

    def __init__(self) -> None:
        self._run = CoroutineRun()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Runs it in this thread. Raises what `CoroutineRun.drive` raises."""
        return asyncio.run(self._drive(coroutine))

    def interrupt(self, why: Interruption, hard_limit: float | None = None) -> None:
        """As `CoroutineRun.interrupt`. Before the loop runs it takes effect as soon as it does."""
        with self._lock:
            loop = self._loop
            if loop is None:
                self._run.interrupt(why, hard_limit)
                return
        # The loop may be over by now.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(self._run.interrupt, why, hard_limit)

    @property
    def computes(self) -> bool:
        """For the thread it runs in: whether its code is running, not waiting."""
        return self._loop is None or asyncio.current_task(self._loop) is not None

    async def _drive(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        with self._lock:
            self._loop = asyncio.get_running_loop()
        return await self._run.drive(coroutine)


def run_alone(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Runs the coroutine on an event loop of its own: in this thread, or beside it if a loop runs here already.

    Raises what `CoroutineRun.drive` raises.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        _here.run = run = LoneRun()
        try:
            return run.run(coroutine)
        finally:
            _here.run = None
    return _in_a_thread(coroutine)


def interrupt_alone() -> bool:
    """For a signal handler: has the coroutine that `run_alone` runs in this thread interrupted by its soft limit.

    False if none runs here, or if its own code is running at this moment and can be interrupted where it is.
    """
    run: LoneRun | None = getattr(_here, "run", None)
    if run is None or run.computes:
        return False
    run.interrupt("soft")
    return True


def _in_a_thread(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """An eager call of an `async def` task from a coroutine, which waits as long."""
    outcome: list[Any] = []
    context = contextvars.copy_context()

    def work() -> None:
        try:
            outcome.append((context.run(asyncio.run, coroutine), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=work, name="umbel-coroutine")
    thread.start()
    thread.join()
    value, error = outcome[0]
    if error is not None:
        raise error
    return value
