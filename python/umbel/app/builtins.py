"""Tasks every application has, under Celery's names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from umbel.app.app import Umbel

__all__ = ["add_builtin_tasks"]


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

    @app.task(name="celery.chord_unlock", bind=True, ignore_result=True, max_retries=None, acks_late=True)
    def chord_unlock(
        self: Any,
        /,
        group_id: str,
        callback: Any,
        interval: float | None = None,
        max_retries: int | None = None,
        result: Any = None,
        **kwargs: Any,
    ) -> None:
        """Sends the body of a chord whose header has finished."""
        from umbel.execution.chords import unlock

        unlock(app, self, group_id, callback, interval, max_retries, result)

    @app.task(name="umbel.fail_dependents", bind=True, acks_late=True, throws=(Exception,))
    def fail_dependents(self: Any, /, *args: Any, **kwargs: Any) -> None:
        """Fails in the place of a task whose process cannot tell those that wait for it: callbacks for errors, the
        later steps of its chain, the chord it counts for."""
        from umbel.execution.chords import fail_in_place

        fail_in_place(app, self.request, args)

    @app.task(name="celery.chunks", bind=True)
    def chunks(self: Any, task: Mapping[str, Any], it: Iterable[Any], n: int) -> Any:
        """Is replaced by a group of starmaps; its result is the list of theirs."""
        from umbel.canvas import chunks

        return self.replace(chunks(task, it, n, app=app).group())

    @app.task(name="celery.group")
    def group(tasks: list[Any], result: Any = None, group_id: str | None = None, partial_args: Any = ()) -> Any:
        """Sends the members of a group; messages of old Celery versions call it."""
        from umbel.canvas import group

        return group(tasks, app=app).apply_async(partial_args, task_id=group_id).as_tuple()

    @app.task(name="celery.chord")
    def chord(header: Any, body: Any, partial_args: Any = (), **options: Any) -> Any:
        """Sends the header of a chord; messages of old Celery versions call it."""
        from umbel.canvas import chord

        return chord(header, body, app=app).apply_async(partial_args).as_tuple()

    @app.task(name="celery.chain")
    def chain(*args: Any, **kwargs: Any) -> Any:
        """Registered because it is in Celery; a chain is run by whoever sends its first step."""
        raise NotImplementedError("chain is not a real task: send the chain itself")
