"""`AsyncResult`: what `delay` returns, and what any process makes of a task id."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from umbel import _current
from umbel.exceptions import IncompleteStream, TimeoutError
from umbel.result.attempts import Attempt, attempts_of, moment
from umbel.result.failures import with_remote_traceback
from umbel.result.waiting import assert_will_not_block, unfinished
from umbel.states import PENDING, PROPAGATE_STATES, READY_STATES, SUCCESS

if TYPE_CHECKING:
    from umbel._interfaces import AppInterface
    from umbel.result.promise import Promise
    from umbel.utils.graph import DependencyGraph

__all__ = ["AsyncResult", "ResultBase", "refresh"]

R = TypeVar("R", covariant=True)


class ResultBase:
    """What results of tasks and of groups have in common."""

    __slots__ = ()


class AsyncResult(ResultBase, Generic[R]):
    """The result of a task that runs elsewhere. Await it, or call `get`.

    The record is read again at each look until it is in a ready state, and kept from then on.
    """

    __slots__ = ("__weakref__", "_cache", "_ignored", "_name", "_on_ready", "app", "id", "parent")

    TimeoutError = TimeoutError

    def __init__(
        self,
        id: str,
        backend: object = None,
        task_name: str | None = None,
        app: AppInterface | None = None,
        parent: Any = None,
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
        self._on_ready: Promise | None = None

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
            callback: Called with the id and the result, unless the task failed and that is raised.
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
            assert_will_not_block()
        parents = self._parents_to_watch() if propagate and follow_parents and self.parent is not None else {}
        if self._cache is None:
            if parents or (timeout is not None and timeout <= 0):
                self._settle(self._wait_with(parents, timeout, interval, on_message, on_interval))
            else:
                self._settle(self._wait(timeout, interval, on_message, on_interval))
        return cast(R, self.maybe_throw(propagate, callback))

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
                    raise TimeoutError(unfinished([self.id], timeout)) from None
            on_interval()

    def _wait_with(
        self,
        parents: dict[str, AsyncResult[Any]],
        timeout: float | None,
        interval: float,
        on_message: Callable[[dict[str, Any]], Any] | None,
        on_interval: Callable[[], Any] | None,
    ) -> dict[str, Any]:
        """The record of this task; raises what a parent raises, since this task will not run then."""
        own = None if on_message is None else self._own_messages(on_message)
        ready = self.app.results.iter_ready([self.id, *parents], timeout, own, interval, on_interval)
        return self._first(ready, parents)

    def _own_messages(self, on_message: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
        return lambda meta: on_message(meta) if meta.get("task_id", self.id) == self.id else None

    def _first(
        self, ready: Iterable[tuple[str, dict[str, Any]]], parents: dict[str, AsyncResult[Any]]
    ) -> dict[str, Any]:
        for task_id, meta in ready:
            if task_id == self.id:
                return meta
            self._settle_parent(parents, (task_id, meta))
        raise TimeoutError(unfinished([self.id], 0))

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
        parents = self._parents_to_watch() if propagate and self.parent is not None else {}
        if self._cache is None:
            if parents:
                self._settle(await self._wait_with_async(parents, timeout, on_message))
            else:
                self._settle(await self.app.results.wait_async(self.id, timeout, on_message))
        return cast(R, self.maybe_throw(propagate, callback))

    async def _wait_with_async(
        self,
        parents: dict[str, AsyncResult[Any]],
        timeout: float | None,
        on_message: Callable[[dict[str, Any]], Any] | None,
    ) -> dict[str, Any]:
        own = None if on_message is None else self._own_messages(on_message)
        ready = self.app.results.iter_ready_async([self.id, *parents], timeout, own)
        try:
            async for one in ready:
                if one[0] == self.id:
                    return one[1]
                self._settle_parent(parents, one)
        finally:
            await ready.aclose()
        raise TimeoutError(unfinished([self.id], timeout))

    def __await__(self) -> Generator[Any, None, R]:
        return self.aget().__await__()

    def _parents_to_watch(self) -> dict[str, AsyncResult[Any]]:
        """Those not known to have finished, by id. Raises what the first of them, from the top, has raised.

        Groups are left out: a chord's body is told of the failures of its members itself, in one exception whoever
        looks when.
        """
        parents: list[AsyncResult[Any]] = []
        node = self.parent
        while node is not None:
            if isinstance(node, AsyncResult):
                parents.append(node)
            node = node.parent
        refresh(parents)
        for parent in reversed(parents):
            if parent._cache is not None:
                parent.maybe_throw()
        return {
            parent.id: parent
            for parent in parents
            if parent._cache is None and not parent._ignored and parent.app is self.app
        }

    @staticmethod
    def _settle_parent(parents: dict[str, AsyncResult[Any]], ready: tuple[str, dict[str, Any]]) -> None:
        parent = parents[ready[0]]
        parent._settle(ready[1])
        parent.maybe_throw()

    def then(
        self, callback: Callable[[Any], Any], on_error: Callable[[Any], Any] | None = None, weak: bool = False
    ) -> Promise:
        """Calls `callback` with this result once the task has finished, however it did: at once if that is known, else
        in a thread that hears of it, whether or not anybody waits.

        Exceptions of `callback` go to `on_error`, or to the log. `weak` is accepted for Celery's sake. Returns a
        promise of what `callback` returns, with a `then` of its own. Raises OperationalError.
        """
        following = self.on_ready.then(callback, on_error)
        if self._cache is None and not self._ignored:
            self.app.results.add_pending_results([self])
        return following

    @property
    def on_ready(self) -> Promise:
        """A promise of this result that is kept when it is known to have finished."""
        if self._on_ready is None:
            from umbel.result.promise import Promise

            self._on_ready = Promise()
            if self._cache is not None:
                self._on_ready(self)
        return self._on_ready

    def _settle(self, meta: dict[str, Any]) -> None:
        """Keeps the record of its end."""
        self._cache = meta
        if self._on_ready is not None:
            self._on_ready(self)

    def maybe_throw(self, propagate: bool = True, callback: Callable[[str, Any], Any] | None = None) -> Any:
        """Raises what the task raised, if it failed or was revoked; returns the result or exception otherwise.

        `callback` is called with the id and what is returned.
        """
        meta = self._meta()
        value = meta.get("result")
        if propagate and meta["status"] in PROPAGATE_STATES:
            self.throw(value, meta.get("traceback"))
        if callback is not None:
            callback(self.id, value)
        return value

    def throw(self, error: Any, traceback: str | None = None) -> None:
        """Raises `error`, with the traceback it had in the worker if `task_remote_tracebacks` is set."""
        if not isinstance(error, BaseException):
            error = Exception(error)
        if traceback and self.app.conf.task_remote_tracebacks:
            error = with_remote_traceback(error, traceback)
        raise error

    maybe_reraise = maybe_throw

    # --- looking

    def _meta(self) -> dict[str, Any]:
        if self._cache is not None:
            return self._cache
        meta = self.app.results.read(self.id)
        if meta is None:
            return {"status": PENDING, "result": None, "traceback": None, "children": None}
        if meta["status"] in READY_STATES:
            self._settle(meta)
        return meta

    def _iter_unread(self) -> Iterator[AsyncResult[Any]]:
        """The results of which no final record is known: this one, or none."""
        if self._cache is None and not self._ignored:
            yield self

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

    @task_id.setter
    def task_id(self, value: str) -> None:
        self.id = value

    @property
    def backend(self) -> Any:
        """The application's result store."""
        return self.app.results

    @property
    def supports_native_join(self) -> bool:
        """Many results are waited for together."""
        return True

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
        return moment(self._meta().get("date_done"))

    @property
    def attempts(self) -> list[Attempt]:
        """Every try of the task, oldest first: when, where, how it ended and why. The last 50 are kept."""
        return attempts_of(self._meta())

    @property
    def children(self) -> list[Any] | None:
        """Results of the tasks it sent, complete once it has finished."""
        meta = self._meta()
        children = meta.get("children")
        if children and not isinstance(children[0], ResultBase):
            # Made once: they keep what they have read.
            children = meta["children"] = [self._child(child) for child in children]
        return cast("list[Any] | None", children)

    def _child(self, value: Any) -> Any:
        make = type(self).from_tuple
        if make is None:
            raise RuntimeError("umbel.result is not imported as a whole")
        return make(value, self.app)

    def collect(self, intermediate: bool = False, **kwargs: Any) -> Iterator[tuple[Any, Any]]:
        """This result, the results of the tasks it sent, of those they sent and so on: each with its value.

        `kwargs` are those of `get`. Raises as `iterdeps` and `get`. With `intermediate` it waits for each in turn.
        """
        for _, node in self.iterdeps(intermediate=intermediate):
            yield node, node.get(**kwargs)

    def get_leaf(self) -> Any:
        """The value of the last result of `iterdeps`. Raises as `collect`."""
        value = None
        for _, node in self.iterdeps():
            value = node.get()
        return value

    def iterdeps(self, intermediate: bool = False) -> Iterator[tuple[Any, Any]]:
        """Pairs of parent (None at the root) and result, breadth first.

        Raises umbel.exceptions.IncompleteStream at one that has not finished, unless `intermediate`.
        """
        level: deque[tuple[Any, Any]] = deque([(None, self)])
        while level:
            # Siblings are read together.
            refresh(node for _, node in level)
            following: deque[tuple[Any, Any]] = deque()
            for parent, node in level:
                yield parent, node
                if node.ready():
                    following.extend((node, child) for child in node.children or ())
                elif not intermediate:
                    raise IncompleteStream(f"{node.id} has not finished")
            level = following

    @property
    def graph(self) -> DependencyGraph[Any]:
        """`build_graph()`."""
        return self.build_graph()

    def build_graph(self, intermediate: bool = False, formatter: Any = None) -> DependencyGraph[Any]:
        """This result and those of the tasks it sent, as a graph. Raises as `iterdeps`."""
        from umbel.utils.graph import DependencyGraph, GraphFormatter

        graph: DependencyGraph[Any] = DependencyGraph(formatter=formatter or GraphFormatter(root=self.id, shape="oval"))
        for parent, node in self.iterdeps(intermediate=intermediate):
            graph.add_arc(node)
            if parent is not None:
                graph.add_edge(parent, node)
        return graph

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
        self.app.results.remove_pending_result(self)
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


def refresh(results: Iterable[Any]) -> None:
    """Reads the records of all that have no final one yet, members of groups included, in few round trips."""
    by_store: dict[int, list[AsyncResult[Any]]] = {}
    for result in results:
        for member in result._iter_unread():
            by_store.setdefault(id(member.app.results), []).append(member)
    for members in by_store.values():
        records = members[0].app.results.read_many([member.id for member in members])
        for member, meta in zip(members, records, strict=True):
            if meta is not None and meta["status"] in READY_STATES:
                member._settle(meta)
