"""The worker's main process: `Worker` and the loop it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from umbel.worker.options import WorkerOptions
    from umbel.worker.worker import Worker

__all__ = ["Worker", "WorkerOptions"]


def __getattr__(name: str) -> Any:
    # The command line needs small parts of this package for commands that run no worker.
    if name == "Worker":
        from umbel.worker.worker import Worker

        return Worker
    if name == "WorkerOptions":
        from umbel.worker.options import WorkerOptions

        return WorkerOptions
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
