"""`task_annotations`: changes to task attributes by setting."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from inspect import getattr_static
from typing import Any

from umbel.config import import_by_name
from umbel.task import Task
from umbel.task.retry import wrap_for_retries

__all__ = ["annotate"]

Changes = Mapping[str, Any]
#: What the body of a task is wrapped for.
_AUTORETRY = frozenset({"autoretry_for", "dont_autoretry_for"})


def annotate(tasks: Iterable[Task[..., Any]], annotations: Any) -> None:
    """Applies `{name or "*": {attribute: value}}`, objects with `annotate(task)`, or a list of either.

    Functions become methods. An attribute given as `@name` is called with the attribute of that name and returns what
    takes its place. In a list the first that has something for a task counts; what is for this task wins over what is
    for any (`"*"`).
    """
    if not annotations:
        return
    entries = [_entry(entry) for entry in (annotations if isinstance(annotations, (list, tuple)) else [annotations])]
    for task in tasks:
        changes = {**_first(entries, "annotate_any"), **_first(entries, "annotate", task)}
        for name, value in changes.items():
            _change(task, name, value)
        if not changes.keys().isdisjoint(_AUTORETRY):
            task.__dict__.pop("run", None)
            wrap_for_retries(task)


class _Map:
    """A dict as an object with Celery's two methods."""

    def __init__(self, changes: Mapping[str, Changes]) -> None:
        self._changes = changes

    def annotate_any(self) -> Changes | None:
        return self._changes.get("*")

    def annotate(self, task: Task[..., Any]) -> Changes | None:
        return self._changes.get(task.name)


def _entry(entry: Any) -> Any:
    if isinstance(entry, Mapping):
        return _Map(entry)
    entry = import_by_name(entry) if isinstance(entry, str) else entry
    return entry() if isinstance(entry, type) else entry


def _first(entries: Iterable[Any], method: str, *args: Any) -> Changes:
    for entry in entries:
        found: Changes | None = getattr(entry, method)(*args) if hasattr(entry, method) else None
        if found:
            return found
    return {}


def _change(task: Task[..., Any], name: str, value: Any) -> None:
    """Changes the class, so that functions become methods; each task made of a function has one of its own."""
    attribute = name.removeprefix("@")
    kind = type(task)
    if name != attribute:
        former = task.__dict__.get(attribute, getattr(kind, attribute))
        static = attribute in task.__dict__ or isinstance(getattr_static(kind, attribute), staticmethod)
        value = staticmethod(value(former)) if static else value(former)
    # An attribute of the object itself would hide it.
    task.__dict__.pop(attribute, None)
    setattr(kind, attribute, value)
    task._plan = None
