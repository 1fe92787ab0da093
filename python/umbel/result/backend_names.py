"""`app.backend` under the names that programs written for Celery call."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from umbel.exceptions import TaskRevokedError
from umbel.result.async_result import AsyncResult
from umbel.states import FAILURE, PENDING, RETRY, REVOKED, STARTED, SUCCESS

__all__ = ["BackendNames"]


class BackendNames:
    """Celery's methods of a result backend, in terms of `ResultStore`, which has them by this base class."""

    #: Results come by notification, and many are waited for together.
    is_async = True
    supports_native_join = True
    supports_autoexpire = True

    def get_task_meta(self: Any, task_id: str, cache: bool = True) -> dict[str, Any]:
        """The record's fields; of state PENDING if there is none. Raises OperationalError."""
        return self.read(task_id) or {"status": PENDING, "result": None}

    def get_state(self: Any, task_id: str) -> str:
        """The state of a task."""
        return str(self.get_task_meta(task_id)["status"])

    def get_result(self: Any, task_id: str) -> Any:
        """What a task returned or raised."""
        return self.get_task_meta(task_id).get("result")

    def get_traceback(self: Any, task_id: str) -> str | None:
        """The traceback of a failure."""
        text: str | None = self.get_task_meta(task_id).get("traceback")
        return text

    def get_children(self: Any, task_id: str) -> Any:
        """The tuples of the results of tasks it sent."""
        return self.get_task_meta(task_id).get("children")

    def task_result_exists(self: Any, task_id: str) -> bool:
        """Whether there is a record."""
        return self.read(task_id) is not None

    def store_result(
        self: Any, task_id: str, result: Any, state: str, traceback: str | None = None, request: Any = None, **_: Any
    ) -> Any:
        """Writes a record; returns `result`. Raises EncodeError, OperationalError."""
        self.store(task_id, state, result, traceback, request)
        return result

    def mark_as_started(self: Any, task_id: str, **meta: Any) -> Any:
        """Writes STARTED with `meta`."""
        return self.store_result(task_id, meta, STARTED)

    def mark_as_done(
        self: Any, task_id: str, result: Any, request: Any = None, store_result: bool = True, state: str = SUCCESS
    ) -> None:
        """Writes SUCCESS. For a call of a batch: once the batch has ended."""
        if (tell := getattr(request, "tell", None)) is not None:
            tell(result)
        elif store_result:
            self.store(task_id, state, result, None, request)

    def mark_as_failure(
        self: Any,
        task_id: str,
        exc: BaseException,
        traceback: str | None = None,
        request: Any = None,
        store_result: bool = True,
        call_errbacks: bool = True,
        state: str = FAILURE,
    ) -> None:
        """Writes FAILURE. Errbacks are the business of the worker that ran the task. For a call of a batch: once the
        batch has ended."""
        if state == FAILURE and (tell := getattr(request, "tell", None)) is not None:
            tell(exc)
        elif store_result:
            self.store(task_id, state, exc, traceback, request)

    def mark_as_retry(
        self: Any,
        task_id: str,
        exc: BaseException,
        traceback: str | None = None,
        request: Any = None,
        store_result: bool = True,
        state: str = RETRY,
    ) -> None:
        """Writes RETRY."""
        self.mark_as_failure(task_id, exc, traceback, request, store_result, False, state)

    def mark_as_revoked(
        self: Any,
        task_id: str,
        reason: str = "",
        request: Any = None,
        store_result: bool = True,
        state: str = REVOKED,
    ) -> None:
        """Writes REVOKED."""
        self.mark_as_failure(task_id, TaskRevokedError(reason), None, request, store_result, False, state)

    def restore_group(self: Any, group_id: str, cache: bool = True) -> Any:
        """A saved group; None if there is none."""
        saved = self.read_group(group_id)
        return None if saved is None else AsyncResult.from_tuple(saved, self._app)  # type: ignore[misc]

    def delete_group(self: Any, group_id: str) -> None:
        """Deletes a saved group."""
        self.forget_group(group_id)

    def add_pending_result(self: Any, result: Any, weak: bool = False) -> Any:
        """Tells a result object once its task has finished; returns it."""
        self.add_pending_results([result])
        return result

    def get_many(
        self: Any, task_ids: Iterable[str], timeout: float | None = None, interval: float = 0.5, **_: Any
    ) -> Any:
        """Id and record of each task, as they come to be in a ready state. Raises TimeoutError."""
        return self.iter_ready(task_ids, timeout, interval=interval)

    def cleanup(self: Any) -> None:
        """Deletes expired results where the store does not do so itself."""
        self.remove_expired()
