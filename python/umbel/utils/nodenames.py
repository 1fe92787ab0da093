"""Names of workers."""

from umbel.routing import worker_direct

__all__ = ["worker_direct"]
