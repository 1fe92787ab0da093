"""Tasks that can be asked to stop, and look now and then whether they are.

    @app.task(bind=True, base=AbortableTask)
    def crunch(self, rows):
        for row in rows:
            if self.is_aborted():
                return "stopped"
            ...

    result = crunch.delay(rows)
    result.abort()

The request is the state `ABORTED`, kept in the result store. Each `is_aborted` reads it there. Progress that a task
tells at the same moment would write over it, so it is kept a second time, beside the task's own record.
"""

from __future__ import annotations

from typing import Any

from umbel.result import AsyncResult
from umbel.states import READY_STATES
from umbel.task import Task

__all__ = ["ABORTED", "AbortableAsyncResult", "AbortableTask"]

#: The state of a task that is asked to stop.
ABORTED = "ABORTED"


class AbortableAsyncResult(AsyncResult[Any]):
    """The result of an `AbortableTask`."""

    __slots__ = ()

    def is_aborted(self) -> bool:
        """Whether the task has been asked to stop and has not ended. Raises OperationalError."""
        record, mark = self.app.results.read_many([self.id, _mark(self.id)])
        state = record["status"] if record is not None else None
        return state == ABORTED or (mark is not None and state not in READY_STATES)

    def abort(self) -> None:
        """Asks the task to stop. When it does is its own business, and one that has ended stays as it is.

        Raises:
            OperationalError: The result store cannot be reached.
            ImproperlyConfigured: There is none.
        """
        if self.state not in READY_STATES:
            self.app.results.store(_mark(self.id), ABORTED, None)
            self.app.results.store(self.id, ABORTED, None)


def _mark(task_id: str) -> str:
    """Id under which the request is kept beside the task's record."""
    return f"{task_id}:{ABORTED}"


class AbortableTask(Task[..., Any]):
    """Base of tasks that call `is_aborted` now and then, and end if they are."""

    abstract = True

    def AsyncResult(self, task_id: str, **kwargs: Any) -> AbortableAsyncResult:
        """The result of a task of this kind with that id."""
        return AbortableAsyncResult(task_id, task_name=self.name, app=self.app, **kwargs)

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """As `Task.apply_async`; the result can be aborted."""
        result = super().apply_async(args, kwargs, **options)
        return self.AsyncResult(result.id, parent=result.parent) if type(result) is AsyncResult else result

    def is_aborted(self, task_id: str | None = None) -> bool:
        """Whether the running task, or the one with that id, has been asked to stop. Raises OperationalError."""
        return self.AsyncResult(self.request.id if task_id is None else task_id).is_aborted()

    def update_state(
        self, task_id: str | None = None, state: str | None = None, meta: Any = None, **kwargs: Any
    ) -> None:
        """As `Task.update_state`, but a request to stop is not written over."""
        if not self.is_aborted(task_id):
            super().update_state(task_id, state, meta, **kwargs)
