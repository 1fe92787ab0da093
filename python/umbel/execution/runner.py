"""What the tracer must know of a task to run it, worked out once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from umbel.task import Task

__all__ = ["TaskRunner", "hook_of"]


class TaskRunner:
    """Of one task. Hooks that the task does not define are None."""

    __slots__ = ("after_return", "batches", "before_start", "call", "coroutine", "ignore_result", "on_failure",
                 "on_retry", "on_success", "store_errors", "task", "track_started")  # fmt: skip

    def __init__(self, task: Task[..., Any]) -> None:
        self.task = task
        #: Its function takes many calls at a time.
        self.batches = task.flush_every is not None
        self.track_started = bool(task.track_started)
        self.ignore_result = bool(task.ignore_result)
        self.store_errors = bool(task.store_errors_even_if_ignored)
        # A task class may wrap every run by its own __call__; ours would only make a second request.
        body: Callable[..., Any] = task.run if type(task).__call__ is Task.__call__ else task
        #: Makes the coroutine of an `async def` task; None for others.
        self.coroutine = body if inspect.iscoroutinefunction(task.run) else None
        #: Runs the body and returns what it returned; a coroutine on an event loop of its own.
        self.call = body if self.coroutine is None else _on_own_loop(body)
        self.before_start = hook_of(task, "before_start")
        self.on_success = hook_of(task, "on_success")
        self.on_retry = hook_of(task, "on_retry")
        self.on_failure = hook_of(task, "on_failure")
        self.after_return = hook_of(task, "after_return")


def hook_of(task: Task[..., Any], name: str) -> Callable[..., Any] | None:
    """The hook of that name, if the task defines it."""
    if name in task.__dict__ or getattr(type(task), name) is not getattr(Task, name):
        hook: Callable[..., Any] = getattr(task, name)
        return hook
    return None


def _on_own_loop(body: Callable[..., Any]) -> Callable[..., Any]:
    # Only where coroutine tasks are: asyncio doubles the time `import umbel` takes.
    from umbel.execution.coroutines import run_alone

    def run_coroutine(*args: Any, **kwargs: Any) -> Any:
        return run_alone(body(*args, **kwargs))

    return run_coroutine
