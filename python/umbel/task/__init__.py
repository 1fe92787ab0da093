"""Tasks: the `Task` class, its request, its options and retries."""

from __future__ import annotations

from umbel.task.options import CallOptions
from umbel.task.request import Context
from umbel.task.task import Task

__all__ = ["CallOptions", "Context", "Task"]
