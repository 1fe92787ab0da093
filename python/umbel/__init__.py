"""Umbel: a task queue for Python with a Rust core, and Celery's API.

from umbel import Umbel

app = Umbel("proj")

@app.task
def add(x, y):
    return x + y

add.delay(2, 3).get()
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from umbel._native import __version__
from umbel.app import Umbel, current_app, current_task, shared_task
from umbel.result import AsyncResult, EagerResult
from umbel.routing import Exchange, Queue
from umbel.serialization import register_type
from umbel.task import Task
from umbel.utils import uuid

if TYPE_CHECKING:
    from umbel.canvas import (
        Signature,
        chain,
        chord,
        chunks,
        group,
        maybe_signature,
        signature,
        subtask,
        xmap,
        xstarmap,
    )

#: The application class under the name it has in Celery.
Celery = Umbel

__all__ = [
    "AsyncResult",
    "Celery",
    "EagerResult",
    "Exchange",
    "Queue",
    "Signature",
    "Task",
    "Umbel",
    "__version__",
    "chain",
    "chord",
    "chunks",
    "current_app",
    "current_task",
    "group",
    "maybe_signature",
    "register_type",
    "shared_task",
    "signature",
    "subtask",
    "uuid",
    "xmap",
    "xstarmap",
]

_CANVAS = frozenset(
    {"Signature", "chain", "chord", "chunks", "group", "maybe_signature", "signature", "subtask", "xmap", "xstarmap"}
)


def __getattr__(name: str) -> Any:
    # Programs without workflows are spared loading them.
    if name in _CANVAS:
        return getattr(import_module("umbel.canvas"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
