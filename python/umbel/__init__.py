"""Umbel: a task queue for Python with a Rust core, and Celery's API.

from umbel import Umbel

app = Umbel("proj")

@app.task
def add(x, y):
    return x + y

add.delay(2, 3).get()
"""

from __future__ import annotations

from umbel._native import __version__
from umbel.app import Umbel, current_app, current_task, shared_task
from umbel.result import AsyncResult, EagerResult
from umbel.routing import Exchange, Queue
from umbel.serialization import register_type
from umbel.task import Task

#: The application class under the name it has in Celery.
Celery = Umbel

__all__ = [
    "AsyncResult",
    "Celery",
    "EagerResult",
    "Exchange",
    "Queue",
    "Task",
    "Umbel",
    "__version__",
    "current_app",
    "current_task",
    "register_type",
    "shared_task",
]
