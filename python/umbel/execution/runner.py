"""What the tracer must know of a task to run it, worked out once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from umbel.task import Task

__all__ = ["TaskRunner"]


class TaskRunner:
    """Of one task. Hooks that the task does not define are None."""

    __slots__ = ("after_return", "before_start", "call", "ignore_result", "on_failure", "on_retry", "on_success",
                 "store_errors", "task", "track_started")  # fmt: skip

    def __init__(self, task: Task[..., Any]) -> None:
        self.task = task
        self.track_started = bool(task.track_started)
        self.ignore_result = bool(task.ignore_result)
        self.store_errors = bool(task.store_errors_even_if_ignored)
        #: Runs the body and returns what it returned.
        self.call = _caller(task)
        self.before_start = _hook(task, "before_start")
        self.on_success = _hook(task, "on_success")
        self.on_retry = _hook(task, "on_retry")
        self.on_failure = _hook(task, "on_failure")
        self.after_return = _hook(task, "after_return")


def _hook(task: Task[..., Any], name: str) -> Callable[..., Any] | None:
    if name in task.__dict__ or getattr(type(task), name) is not getattr(Task, name):
        hook: Callable[..., Any] = getattr(task, name)
        return hook
    return None


def _caller(task: Task[..., Any]) -> Callable[..., Any]:
    # A task class may wrap every run by its own __call__; ours would only make a second request.
    body: Callable[..., Any] = task.run if type(task).__call__ is Task.__call__ else task
    if not inspect.iscoroutinefunction(task.run):
        return body

    import asyncio  # Only where coroutine tasks are: it doubles the time `import umbel` takes.

    def run_coroutine(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(body(*args, **kwargs))

    return run_coroutine
