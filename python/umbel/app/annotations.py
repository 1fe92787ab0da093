"""`task_annotations`: changes to task attributes by setting."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from umbel.config import import_by_name
from umbel.task import Task

__all__ = ["annotate"]


def annotate(tasks: Iterable[Task[..., Any]], annotations: Any) -> None:
    """Applies `{name or "*": {attribute: value}}`, objects with `annotate(task)`, or a list of either."""
    if not annotations:
        return
    entries = annotations if isinstance(annotations, (list, tuple)) else [annotations]
    entries = [import_by_name(entry) if isinstance(entry, str) else entry for entry in entries]
    for task in tasks:
        for entry in entries:
            for changes in _for_task(entry() if isinstance(entry, type) else entry, task):
                for attribute, value in changes.items():
                    setattr(task, attribute.lstrip("@"), value)


def _for_task(entry: Any, task: Task[..., Any]) -> list[Mapping[str, Any]]:
    if isinstance(entry, Mapping):
        found = [entry.get("*"), entry.get(task.name)]
    else:
        found = [
            call(task) for call in (getattr(entry, "annotate_any", None), getattr(entry, "annotate", None)) if call
        ]
    return [changes for changes in found if changes]
