"""Tasks every application has, under Celery's names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from umbel.app.app import Umbel

__all__ = ["CANVAS_TASKS", "add_builtin_tasks"]

#: Names of Celery's that need the canvas to be run.
CANVAS_TASKS = frozenset({"celery.chain", "celery.chord", "celery.chord_unlock", "celery.chunks", "celery.group"})


def add_builtin_tasks(app: Umbel) -> None:
    """Registers them."""

    @app.task(name="celery.backend_cleanup", ignore_result=True)
    def backend_cleanup() -> int:
        """Deletes expired results from stores that do not do so themselves."""
        return app.client.remove_expired_results()

    @app.task(name="celery.accumulate")
    def accumulate(*args: Any, **kwargs: Any) -> Any:
        """Returns its arguments, or the one at `index`."""
        index = kwargs.get("index")
        return args[index] if index is not None else args

    @app.task(name="celery.map")
    def map_(task: Mapping[str, Any], it: Iterable[Any]) -> list[Any]:
        """Calls the task of a signature with each item, in place."""
        function: Any = app.tasks[task["task"]]
        return [function(item) for item in it]

    @app.task(name="celery.starmap")
    def starmap(task: Mapping[str, Any], it: Iterable[Iterable[Any]]) -> list[Any]:
        """Calls the task of a signature with each item's elements, in place."""
        function: Any = app.tasks[task["task"]]
        return [function(*item) for item in it]
