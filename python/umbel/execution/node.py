"""`WorkerNode`: the sender of signals about a worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["WorkerNode"]


@dataclass(frozen=True)
class WorkerNode:
    """What the senders that Celery's signals have, parts of its worker, have in common."""

    #: The application.
    app: Any
    #: The node name.
    hostname: str

    def __str__(self) -> str:
        return self.hostname
