"""The tasks of an application, by name."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from umbel.exceptions import NotRegistered
from umbel.task import Task

__all__ = ["TaskRegistry", "import_tasks", "task_name"]


class TaskRegistry(dict[str, Task[..., Any]]):
    """Name to task. A missing name raises NotRegistered, which is a KeyError."""

    def __missing__(self, name: str) -> Task[..., Any]:
        raise NotRegistered(name)

    def register(self, task: Task[..., Any]) -> None:
        """Adds a task under its own name."""
        self[task.name] = task

    def unregister(self, name: str | Task[..., Any]) -> None:
        """Removes a task. Raises NotRegistered."""
        key = name.name if isinstance(name, Task) else name
        if key not in self:
            raise NotRegistered(key)
        del self[key]

    def regular(self) -> dict[str, Task[..., Any]]:
        """All tasks; Celery sets periodic ones apart."""
        return dict(self)


def task_name(main: str | None, name: str, module: str | None) -> str:
    """`module.name`; for the script that is being run, the application's name takes the place of `__main__`."""
    if module == "__main__" and main:
        return f"{main}.{name}"
    return ".".join(part for part in (module, name) if part)


def import_tasks(package: str, related_name: str | None) -> Any:
    """Imports `package.related_name` (or `package`); None if there is no such module.

    An error inside the module passes through.
    """
    name = f"{package}.{related_name}" if related_name else package
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            return None
        raise
