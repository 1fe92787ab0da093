"""Whether waiting for results is allowed here, and what to say when it was in vain."""

from __future__ import annotations

from collections.abc import Collection, Generator
from contextlib import contextmanager

from umbel import _current

__all__ = ["allow_join_result", "assert_will_not_block", "denied_join_result", "unfinished"]

_IN_TASK = (
    "Never call result.get() within a task: it holds a slot while it waits for another, and all slots may end up so. "
    "Link tasks instead, or pass disable_sync_subtasks=False"
)


@contextmanager
def allow_join_result() -> Generator[None, None, None]:
    """Inside, waiting for results is allowed, even in a task."""
    token = _current.joining_allowed.set(True)
    try:
        yield
    finally:
        _current.joining_allowed.reset(token)


@contextmanager
def denied_join_result() -> Generator[None, None, None]:
    """Inside, waiting for results raises RuntimeError, as it does in a task."""
    token = _current.joining_allowed.set(False)
    try:
        yield
    finally:
        _current.joining_allowed.reset(token)


def assert_will_not_block() -> None:
    """Raises RuntimeError where waiting for a result could block a worker for good."""
    allowed = _current.joining_allowed.get()
    if allowed is None:
        request = _current.current_worker_request()
        allowed = request is None or request.is_eager
    if not allowed:
        raise RuntimeError(_IN_TASK)


def unfinished(task_ids: Collection[str], timeout: float | None) -> str:
    """Words of a TimeoutError: the task, or how many there are and one of them."""
    one = next(iter(task_ids), "nothing")
    who = one if len(task_ids) < 2 else f"{len(task_ids)} tasks, {one} among them,"
    return f"No result of {who} within {timeout or 0:g}s"
