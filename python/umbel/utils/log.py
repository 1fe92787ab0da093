"""`umbel.utils.log.get_task_logger`, where Celery users look for it."""

from __future__ import annotations

from umbel.logs import get_logger, get_task_logger

__all__ = ["get_logger", "get_task_logger"]
