"""`AsyncResult`: what `delay` returns, and what any process makes of a task id."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from umbel import _current
from umbel.exceptions import TimeoutError
from umbel.states import PENDING, PROPAGATE_STATES, READY_STATES, SUCCESS

if TYPE_CHECKING:
    from umbel._interfaces import AppInterface

__all__ = ["AsyncResult", "allow_join_result", "check_may_wait", "denied_join_result"]

R = TypeVar("R", covariant=True)

_IN_TASK = (
    "Never call result.get() within a task: it holds a slot while it waits for another, and all slots may end up so. "
    "Link tasks instead, or pass disable_sync_subtasks=False"
)


@contextmanager
def allow_join_result() -> Generator[None, None, None]:
    """Inside, waiting for results is allowed, even in a task."""
    token = _current.joining_allowed.set(True)
    try:
        yield
    finally:
        _current.joining_allowed.reset(token)


@contextmanager
def denied_join_result() -> Generator[None, None, None]:
    """Inside, waiting for results raises RuntimeError, as it does in a task."""
    token = _current.joining_allowed.set(False)
    try:
        yield
    finally:
        _current.joining_allowed.reset(token)


def check_may_wait() -> None:
    """Raises RuntimeError where waiting for a result could block a worker for good."""
    allowed = _current.joining_allowed.get()
    if allowed is None:
        request = _current.current_worker_request()
        allowed = request is None or request.is_eager
    if not allowed:
        raise RuntimeError(_IN_TASK)


class AsyncResult(Generic[R]):
    """The result of a task that runs elsewhere. Await it, or call `get`.

    The record is read again at each look until it is in a ready state, and kept from then on.
    """

    __slots__ = ("__weakref__", "_cache", "_ignored", "_name", "app", "id", "parent")

    TimeoutError = TimeoutError

    def __init__(
        self,
        id: str,
        backend: object = None,
        task_name: str | None = None,
        app: AppInterface | None = None,
        parent: AsyncResult[Any] | None = None,
    ) -> None:
        """`app` None: the current one. `backend` is accepted for Celery's sake: the app knows its store."""
        if id is None:
            raise ValueError(f"AsyncResult requires a task id, not {type(id).__name__}")
        self.id = id
        self.app: AppInterface = _current.current_app() if app is None else app
        self.parent = parent
        self._name = task_name
        self._cache: dict[str, Any] | None = None
        self._ignored = False

    # --- waiting

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        no_ack: bool = True,
        follow_parents: bool = True,
        callback: Callable[[str, Any], Any] | None = None,
        on_message: Callable[[dict[str, Any]], Any] | None = None,
        on_interval: Callable[[], Any] | None = None,
        disable_sync_subtasks: bool = True,
    ) -> R:
        """Blocks until the task has finished and returns what it returned.

        Args:
            timeout: Seconds to wait at most; None: for ever.
            propagate: Raise what the task raised; otherwise the exception is returned.
            interval: Seconds between calls of `on_interval`. Results come by notification, so nothing is polled.
            no_ack: Accepted for Celery's sake.
            follow_parents: Raise what a parent raised, since then this task will never run.
            callback: Called with the id and the result.
            on_message: Called with every record that arrives.
            on_interval: Called from time to time while waiting.
            disable_sync_subtasks: Refuse to wait inside a task.

        Raises:
            umbel.exceptions.TimeoutError: It did not finish in time.
            umbel.exceptions.OperationalError: The result store cannot be reached.
            RuntimeError: Called inside a task.
        """
        if self._ignored:
            return cast(R, None)
        if disable_sync_subtasks:
            check_may_wait()
        if propagate and follow_parents and self.parent is not None:
            self._raise_of_parents()
        if self._cache is None:
            self._cache = self._wait(timeout, interval, on_message, on_interval)
        return self._outcome(propagate, callback)

    wait = get

    def _wait(
        self,
        timeout: float | None,
        interval: float,
        on_message: Callable[[dict[str, Any]], Any] | None,
        on_interval: Callable[[], Any] | None,
    ) -> dict[str, Any]:
        if on_interval is None:
            return self.app.results.wait(self.id, timeout, on_message)
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            try:
                return self.app.results.wait(self.id, interval if left is None else min(interval, left), on_message)
            except TimeoutError:
                if deadline is not None and time.monotonic() >= deadline:
                    raise TimeoutError(f"No result of {self.id} within {timeout}s") from None
            on_interval()

    async def aget(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        callback: Callable[[str, Any], Any] | None = None,
        on_message: Callable[[dict[str, Any]], Any] | None = None,
    ) -> R:
        """`get` for coroutines: other coroutines run while it waits. A coroutine task may wait so for another task."""
        if self._ignored:
            return cast(R, None)
        if propagate and self.parent is not None:
            self._raise_of_parents()
        if self._cache is None:
            self._cache = await self.app.results.wait_async(self.id, timeout, on_message)
        return self._outcome(propagate, callback)

    def __await__(self) -> Generator[Any, None, R]:
        return self.aget().__await__()

    def _raise_of_parents(self) -> None:
        parent = self.parent
        while parent is not None:
            parent.maybe_throw()
            parent = parent.parent

    def _outcome(self, propagate: bool, callback: Callable[[str, Any], Any] | None) -> R:
        if propagate:
            self.maybe_throw(callback=callback)
        elif callback is not None:
            callback(self.id, self.result)
        return cast(R, self.result)

    def maybe_throw(self, propagate: bool = True, callback: Callable[[str, Any], Any] | None = None) -> Any:
        """Raises what the task raised, if it failed or was revoked; returns the result or exception otherwise."""
        meta = self._meta()
        value = meta.get("result")
        if callback is not None:
            callback(self.id, value)
        if propagate and meta["status"] in PROPAGATE_STATES and isinstance(value, BaseException):
            raise value
        return value

    maybe_reraise = maybe_throw

    # --- looking

    def _meta(self) -> dict[str, Any]:
        if self._cache is not None:
            return self._cache
        meta = self.app.results.read(self.id)
        if meta is None:
            return {"status": PENDING, "result": None, "traceback": None, "children": None}
        if meta["status"] in READY_STATES:
            self._cache = meta
        return meta

    @property
    def state(self) -> str:
        """One of `umbel.states`, or a custom one. PENDING also stands for ids nobody has heard of."""
        return str(self._meta()["status"])

    status = state

    @property
    def result(self) -> Any:
        """What the task returned or raised; while it runs, what `update_state` said."""
        return self._meta().get("result")

    info = result

    @property
    def traceback(self) -> str | None:
        """The traceback of a failure, as text."""
        return self._meta().get("traceback")

    def ready(self) -> bool:
        """True once the task succeeded, failed or was revoked."""
        return self.state in READY_STATES

    def successful(self) -> bool:
        """True if it succeeded."""
        return self.state == SUCCESS

    def failed(self) -> bool:
        """True if it failed."""
        return self.state == "FAILURE"

    def exists(self) -> bool:
        """True if there is a record of it."""
        return self._cache is not None or self.app.results.read(self.id) is not None

    @property
    def task_id(self) -> str:
        """The id."""
        return self.id

    @property
    def name(self) -> str | None:
        """The task's name, if results are extended."""
        return self._meta().get("name", self._name)

    @property
    def args(self) -> Any:
        """Its positional arguments, if results are extended."""
        return self._meta().get("args")

    @property
    def kwargs(self) -> Any:
        """Its keyword arguments, if results are extended."""
        return self._meta().get("kwargs")

    @property
    def worker(self) -> str | None:
        """The node that ran it, if results are extended."""
        return self._meta().get("worker")

    @property
    def retries(self) -> int | None:
        """How often it was retried, if results are extended."""
        return self._meta().get("retries")

    @property
    def queue(self) -> str | None:
        """The queue it came from, if results are extended."""
        return self._meta().get("queue")

    @property
    def date_done(self) -> datetime | None:
        """When it reached a ready state."""
        value = self._meta().get("date_done")
        if isinstance(value, str):
            return datetime.fromisoformat(value.replace("Z", "+00:00"))
        return value

    @property
    def children(self) -> list[Any] | None:
        """Results of the tasks it sent, complete once it has finished."""
        children = self._meta().get("children")
        return None if children is None else [self._child(child) for child in children]

    def _child(self, value: Any) -> Any:
        make = type(self).from_tuple
        if make is None:
            raise RuntimeError("umbel.result is not imported as a whole")
        return make(value, self.app)

    #: Makes a result of a tuple; `group_result`, which knows both kinds, sets it.
    from_tuple: ClassVar[Callable[[Any, Any], Any] | None] = None

    @property
    def ignored(self) -> bool:
        """True if the task stores no result: `get` returns None at once."""
        return self._ignored

    @ignored.setter
    def ignored(self, value: bool | None) -> None:
        self._ignored = bool(value)

    def revoke(
        self,
        connection: Any = None,
        terminate: bool = False,
        signal: str | int | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Tells workers not to run the task: see `app.control.revoke`.

        Args:
            connection: Accepted for Celery's sake.
            terminate: End it even if it runs: the process that runs it is sent `signal` (None: SIGTERM).
            wait: Wait for the workers' answers, up to `timeout` seconds (None: 1).

        Raises:
            OperationalError: The broker cannot be reached.
        """
        self.app.control.revoke(self.id, terminate=terminate, signal=signal or "SIGTERM", reply=wait, timeout=timeout)

    def revoke_by_stamped_headers(
        self,
        headers: dict[str, Any],
        connection: Any = None,
        terminate: bool = False,
        signal: str | int | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Tells workers not to run tasks with these stamps; the rest is as for `revoke`."""
        self.app.control.revoke_by_stamped_headers(
            headers, terminate=terminate, signal=signal or "SIGTERM", reply=wait, timeout=timeout
        )

    def forget(self) -> None:
        """Deletes the record, and those of its parents."""
        self._cache = None
        if self.parent is not None:
            self.parent.forget()
        self.app.results.forget([self.id])

    # --- as a value

    def as_tuple(self) -> tuple[tuple[str, Any], None]:
        """`((id, parent's tuple or None), None)`: the form that serializes."""
        return (self.id, self.parent.as_tuple() if self.parent is not None else None), None

    def as_list(self) -> list[str]:
        """The ids of this result and its parents."""
        return [self.id, *(self.parent.as_list() if self.parent is not None else ())]

    def __str__(self) -> str:
        return str(self.id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id}>"

    def __hash__(self) -> int:
        return hash(self.id)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, AsyncResult):
            return bool(other.id == self.id)
        return other == self.id if isinstance(other, str) else NotImplemented

    def __copy__(self) -> AsyncResult[R]:
        return AsyncResult(self.id, None, self._name, self.app, self.parent)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return AsyncResult, (self.id, None, self._name, None, self.parent)
