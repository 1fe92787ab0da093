"""The application."""

from __future__ import annotations

from umbel.app.app import Umbel, current_app, current_task
from umbel.app.shared_task import shared_task

__all__ = ["Umbel", "current_app", "current_task", "shared_task"]
