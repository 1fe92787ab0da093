"""Concurrency limits of tasks and queues (`concurrency_limit`, `concurrency_key`, `task_queue_concurrency_limits`).

Slots are counted in the broker, by the workers that run the tasks. Only the key of a call, which its arguments tell, is
worked out here: the worker's main process reads no bodies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from umbel.app.keys import CallKey
from umbel.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from umbel.task import Task

__all__ = ["HEADER", "checked_limit", "key_of", "queue_limits"]

#: Tells the worker the key of a call.
HEADER = "umbel_concurrency_key"

#: The largest limit.
_MOST = 2**32 - 1


def checked_limit(task: Task[..., Any]) -> int | None:
    """How many of a task may run at a time; None: any number. Raises ImproperlyConfigured."""
    limit = task.concurrency_limit
    if limit is None:
        if task.concurrency_key is not None:
            raise ImproperlyConfigured(f"Task {task.name}: concurrency_key needs a concurrency_limit, for each key")
        return None
    return _number(limit, f"Task {task.name}: concurrency_limit")


def key_of(task: Task[..., Any]) -> CallKey | None:
    """By what the limit of a task holds; None: for all its calls together. Raises ImproperlyConfigured."""
    checked_limit(task)
    return None if task.concurrency_key is None else CallKey.of(task, "concurrency_key")


def queue_limits(given: Mapping[Any, Any]) -> dict[str, int]:
    """How many tasks of a queue may run at a time, by its name. Raises ImproperlyConfigured."""
    setting = "Setting task_queue_concurrency_limits"
    return {str(queue): _number(limit, f"{setting}: queue {queue}") for queue, limit in given.items()}


def _number(limit: Any, whose: str) -> int:
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= _MOST:
        raise ImproperlyConfigured(f"{whose} takes a whole number from 1 on, not {limit!r}")
    return limit
