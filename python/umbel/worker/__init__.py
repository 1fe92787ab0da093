"""The worker's main process: `Worker` and the loop it runs."""

from umbel.worker.options import WorkerOptions
from umbel.worker.worker import Worker

__all__ = ["Worker", "WorkerOptions"]
