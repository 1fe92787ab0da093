"""`ResultSet` and `GroupResult`: results that are waited for together, through one listener."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from umbel import _current
from umbel.result.async_result import AsyncResult, ResultBase, refresh
from umbel.result.waiting import assert_will_not_block
from umbel.states import PROPAGATE_STATES

if TYPE_CHECKING:
    from umbel._interfaces import AppInterface
    from umbel.result.promise import Promise

__all__ = ["GroupResult", "ResultSet", "result_from_tuple"]

R = TypeVar("R", covariant=True)

OnMessage = Callable[[dict[str, Any]], Any]
OnValue = Callable[[str, Any], Any]
OnInterval = Callable[[], Any]


class ResultSet(ResultBase, Generic[R]):
    """Several results, of tasks or of groups.

    Looking at all of them reads their records together; waiting for all of them takes one listener and no round trip
    for each.
    """

    id: str | None = None
    parent: Any = None
    _app: AppInterface | None = None

    def __init__(self, results: Iterable[Any], app: AppInterface | None = None, **kwargs: Any) -> None:
        """`app` None: that of the results, or the current one."""
        self.results: list[Any] = results if isinstance(results, list) else list(results)
        if app is not None:
            self._app = app
        self._on_ready: Promise | None = None

    @property
    def app(self) -> AppInterface:
        """The application."""
        if self._app is None:
            first = next((leaf for leaf in self._leaves() if leaf.supports_native_join), None)
            self._app = _current.current_app() if first is None else first.app
        return self._app

    @app.setter
    def app(self, app: AppInterface) -> None:
        self._app = app

    @property
    def backend(self) -> Any:
        """The application's result store."""
        return self.app.results

    @property
    def supports_native_join(self) -> bool | None:
        """Members are waited for together."""
        return self.results[0].supports_native_join if self.results else None

    def _leaves(self) -> Iterator[AsyncResult[Any]]:
        """The results of tasks, those of nested groups included."""
        for result in self.results:
            if isinstance(result, ResultSet):
                yield from result._leaves()
            else:
                yield result

    def _iter_unread(self) -> Iterator[AsyncResult[Any]]:
        for result in self.results:
            yield from result._iter_unread()

    # --- members

    def add(self, result: Any) -> None:
        """Adds a result unless it is a member."""
        if result not in self.results:
            self.results.append(result)
            # Who asks from now on waits for this one too.
            self._on_ready = None

    def remove(self, result: Any) -> None:
        """Takes out a result, or the one with an id. Raises KeyError if it is no member."""
        try:
            self.results.remove(result)
        except ValueError:
            raise KeyError(result) from None

    def discard(self, result: Any) -> None:
        """Takes out a result if it is a member."""
        if result in self.results:
            self.results.remove(result)

    def update(self, results: Iterable[Any]) -> None:
        """Adds those that are no members."""
        for result in results:
            self.add(result)

    def clear(self) -> None:
        """Takes out all."""
        self.results.clear()

    # --- waiting

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        callback: OnValue | None = None,
        no_ack: bool = True,
        on_message: OnMessage | None = None,
        disable_sync_subtasks: bool = True,
        on_interval: OnInterval | None = None,
    ) -> Any:
        """Blocks until all have finished and returns what they returned, in order: `join_native`."""
        return self.join_native(
            timeout, propagate, interval, callback, no_ack, on_message, on_interval, disable_sync_subtasks
        )

    def join(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        callback: OnValue | None = None,
        no_ack: bool = True,
        on_message: OnMessage | None = None,
        disable_sync_subtasks: bool = True,
        on_interval: OnInterval | None = None,
    ) -> list[R]:
        """Blocks until all have finished and returns what they returned, in order.

        Args:
            timeout: For all of them, seconds; None: for ever.
            propagate: Raise the exception of the first member, in their order, that has failed; otherwise exceptions
                stand among the values.
            interval: Seconds between calls of `on_interval`.
            callback: Called with id and value of each, in order; nothing is collected then: the list is empty.
            no_ack: Accepted for Celery's sake.
            on_message: Called with every record that arrives.
            disable_sync_subtasks: Refuse to wait inside a task.
            on_interval: Called from time to time while waiting.

        Raises:
            umbel.exceptions.TimeoutError: Not all finished in time.
            umbel.exceptions.OperationalError: The result store cannot be reached.
            RuntimeError: Called inside a task.
        """
        if disable_sync_subtasks:
            assert_will_not_block()
        values = []
        with contextlib.closing(self._arrivals(timeout, interval, on_message, on_interval)) as arrivals:
            for result in self.results:
                while any(True for _ in result._iter_unread()):
                    next(arrivals)
                value = _value(result, propagate)
                if callback is not None:
                    callback(result.id, value)
                else:
                    values.append(value)
        return values

    def join_native(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        callback: OnValue | None = None,
        no_ack: bool = True,
        on_message: OnMessage | None = None,
        on_interval: OnInterval | None = None,
        disable_sync_subtasks: bool = True,
    ) -> Any:
        """`join` that raises the first exception that arrives, without waiting for the others.

        `callback` is called in the order in which they finish, and None is returned then.
        """
        if disable_sync_subtasks:
            assert_will_not_block()
        for member in self._arrivals(timeout, interval, on_message, on_interval, propagate):
            if callback is not None:
                callback(member.id, _value(member, propagate))
        return None if callback is not None else [_value(result, propagate) for result in self.results]

    def iter_native(
        self,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: OnMessage | None = None,
        on_interval: OnInterval | None = None,
    ) -> Iterator[tuple[str, Any]]:
        """Id and record of each member, in the order in which they finish; of a group among them, its results.

        Raises TimeoutError, OperationalError.
        """
        for member in self._arrivals(timeout, interval, on_message, on_interval):
            yield member.id, (member.results if isinstance(member, ResultSet) else member._meta())

    def iterate(self, timeout: float | None = None, propagate: bool = True, interval: float = 0.5) -> Iterator[Any]:
        """The values of the members, in the order in which they finish. Raises as `join_native`."""
        for member in self._arrivals(timeout, interval, propagate=propagate):
            yield _value(member, propagate)

    def _arrivals(
        self,
        timeout: float | None = None,
        interval: float = 0.5,
        on_message: OnMessage | None = None,
        on_interval: OnInterval | None = None,
        propagate: bool = False,
    ) -> Generator[Any, None, None]:
        """Each member as it comes to have finished; with `propagate` the first exception to arrive is raised."""
        open_members = _Open(self, propagate)
        yield from open_members.finished()
        deadline = None if timeout is None else time.monotonic() + timeout
        for app, task_ids in open_members.by_app():
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            for task_id, meta in app.results.iter_ready(task_ids, left, on_message, interval, on_interval):
                yield from open_members.settle(task_id, meta)

    async def aget(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        callback: OnValue | None = None,
        on_message: OnMessage | None = None,
    ) -> Any:
        """`get` for coroutines."""
        async for member in self._arrivals_async(timeout, on_message, propagate):
            if callback is not None:
                callback(member.id, _value(member, propagate))
        return None if callback is not None else [_value(result, propagate) for result in self.results]

    def __await__(self) -> Generator[Any, None, list[R]]:
        return self.aget().__await__()

    async def as_completed(
        self,
        timeout: float | None = None,
        on_progress: Callable[[int, int], Any] | None = None,
        on_message: OnMessage | None = None,
    ) -> AsyncIterator[Any]:
        """The members (results of tasks, or of groups among them), in the order in which they finish.

        Args:
            timeout: For all of them, seconds.
            on_progress: Called before each with how many have finished, this one included, and how many there are.
            on_message: Called with every record that arrives, those of custom states included.

        Raises TimeoutError, OperationalError.
        """
        done = 0
        async for member in self._arrivals_async(timeout, on_message):
            done += 1
            if on_progress is not None:
                on_progress(done, len(self.results))
            yield member

    def __aiter__(self) -> AsyncIterator[Any]:
        return self.as_completed()

    async def _arrivals_async(
        self, timeout: float | None, on_message: OnMessage | None, propagate: bool = False
    ) -> AsyncIterator[Any]:
        open_members = _Open(self, propagate)
        for member in open_members.finished():
            yield member
        deadline = None if timeout is None else time.monotonic() + timeout
        for app, task_ids in open_members.by_app():
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = app.results.iter_ready_async(task_ids, left, on_message)
            try:
                async for task_id, meta in ready:
                    for member in open_members.settle(task_id, meta):
                        yield member
            finally:
                await ready.aclose()

    def then(
        self, callback: Callable[[Any], Any], on_error: Callable[[Any], Any] | None = None, weak: bool = False
    ) -> Promise:
        """Calls `callback` with this set once all have finished; otherwise as `AsyncResult.then`."""
        following = self.on_ready.then(callback, on_error)
        by_app: dict[int, list[AsyncResult[Any]]] = {}
        for leaf in self._iter_unread():
            by_app.setdefault(id(leaf.app), []).append(leaf)
        for leaves in by_app.values():
            leaves[0].app.results.add_pending_results(leaves)
        return following

    @property
    def on_ready(self) -> Promise:
        """A promise of this set that is kept when all are known to have finished."""
        if self._on_ready is None:
            from umbel.result.promise import Promise

            self._on_ready = promise = Promise()
            _Barrier(list(self._iter_unread()), lambda: promise(self))
        return self._on_ready

    # --- looking

    def _refresh(self) -> None:
        refresh([self])

    def ready(self) -> bool:
        """True once all have finished."""
        self._refresh()
        return all(leaf._cache is not None for leaf in self._iter_unread())

    def successful(self) -> bool:
        """True once all have succeeded."""
        self._refresh()
        return all(_state(leaf) == "SUCCESS" for leaf in self._leaves())

    def failed(self) -> bool:
        """True if any has failed."""
        self._refresh()
        return any(_state(leaf) == "FAILURE" for leaf in self._leaves())

    def waiting(self) -> bool:
        """True while any is unfinished."""
        return not self.ready()

    def completed_count(self) -> int:
        """How many members have succeeded; a group among them counts once, when all of it has."""
        self._refresh()
        return sum(all(_state(leaf) == "SUCCESS" for leaf in _leaves(result)) for result in self.results)

    def maybe_throw(self, callback: OnValue | None = None, propagate: bool = True) -> None:
        """Raises the exception of the first, in order, that has failed; `callback` gets id and value of those before,
        of what has finished."""
        self._refresh()
        for leaf in self._leaves():
            if leaf._cache is not None:
                leaf.maybe_throw(propagate=propagate, callback=callback)

    maybe_reraise = maybe_throw

    def forget(self) -> None:
        """Deletes all records."""
        by_app: dict[int, list[AsyncResult[Any]]] = {}
        for leaf in self._leaves():
            if not leaf.supports_native_join or leaf.parent is not None:
                leaf.forget()
            else:
                by_app.setdefault(id(leaf.app), []).append(leaf)
        for leaves in by_app.values():
            for leaf in leaves:
                leaf._cache = None
                leaf.app.results.remove_pending_result(leaf)
            leaves[0].app.results.forget([leaf.id for leaf in leaves])

    def revoke(
        self,
        connection: Any = None,
        terminate: bool = False,
        signal: str | int | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Revokes all tasks in one message; arguments are those of `AsyncResult.revoke`."""
        control: Any = self.app.control
        ids = [leaf.id for leaf in self._leaves()]
        control.revoke(ids, terminate=terminate, signal=signal or "SIGTERM", reply=wait, timeout=timeout)

    # --- as a value

    def __iter__(self) -> Iterator[Any]:
        return iter(self.results)

    def __getitem__(self, index: int) -> Any:
        return self.results[index]

    def __len__(self) -> int:
        return len(self.results)

    def __eq__(self, other: object) -> bool:
        return other.results == self.results if isinstance(other, ResultSet) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: [{', '.join(str(result.id) for result in self.results)}]>"


class GroupResult(ResultSet[R]):
    """The results of a group, which has an id of its own."""

    def __init__(
        self,
        id: str | None = None,
        results: Iterable[Any] = (),
        parent: Any = None,
        app: AppInterface | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(results, app, **kwargs)
        self.id = id
        self.parent = parent

    @property
    def children(self) -> list[Any]:
        """The results of its members."""
        return self.results

    def save(self, backend: Any = None) -> None:
        """Keeps ids and structure in the result store, as long as results live, for `restore`."""
        (backend or self.app.results).save_group(str(self.id), self.as_tuple())

    def delete(self, backend: Any = None) -> None:
        """Deletes what `save` kept; the results stay."""
        (backend or self.app.results).forget_group(str(self.id))

    @classmethod
    def restore(cls, id: str, backend: Any = None, app: AppInterface | None = None) -> GroupResult[Any] | None:
        """A group that was saved, by any process; None if there is none. Raises OperationalError, DecodeError."""
        app = app or cls._app or _current.current_app()
        saved = (backend or app.results).read_group(id)
        return None if saved is None else result_from_tuple(saved, app)

    def as_tuple(self) -> tuple[tuple[str | None, Any], list[Any]]:
        """`((id, parent's tuple or None), [members' tuples])`: the form that serializes."""
        parent = self.parent.as_tuple() if self.parent is not None else None
        return (self.id, parent), [result.as_tuple() for result in self.results]

    def as_list(self) -> list[Any]:
        """The ids of the group, its members and its parents."""
        above = self.parent.as_list() if self.parent is not None else []
        return [self.id, *(result.id for result in self.results), *above]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, GroupResult):
            return (other.id, other.results, other.parent) == (self.id, self.results, self.parent)
        return other == self.id if isinstance(other, str) else NotImplemented

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(self.id)

    def __bool__(self) -> bool:
        # A group is a result even if it has no members.
        return bool(self.id or self.results)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return GroupResult, (self.id, self.results, self.parent)

    def __str__(self) -> str:
        return str(self.id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id} [{', '.join(str(result.id) for result in self.results)}]>"


class _Open:
    """The members of a set that have not finished, and the tasks they wait for."""

    def __init__(self, results: ResultSet[Any], propagate: bool) -> None:
        self._members = results.results
        self._propagate = propagate
        #: Of each task: its results, and the members they belong to.
        self._waiting: dict[str, list[tuple[AsyncResult[Any], int]]] = {}
        self._left = [0] * len(self._members)
        for index, member in enumerate(self._members):
            for leaf in member._iter_unread():
                self._waiting.setdefault(leaf.id, []).append((leaf, index))
                self._left[index] += 1

    def finished(self) -> list[Any]:
        """Members without open tasks. Raises what is known to have been raised, with `propagate`."""
        if self._propagate:
            for member in self._members:
                for leaf in _leaves(member):
                    if _state(leaf) in PROPAGATE_STATES:
                        leaf.maybe_throw()
        return [member for member, left in zip(self._members, self._left, strict=True) if left == 0]

    def by_app(self) -> list[tuple[AppInterface, list[str]]]:
        """The open tasks, by the application whose store has their records: one, as a rule."""
        found: dict[int, tuple[AppInterface, list[str]]] = {}
        for task_id, leaves in self._waiting.items():
            app = leaves[0][0].app
            found.setdefault(id(app), (app, []))[1].append(task_id)
        return list(found.values())

    def settle(self, task_id: str, meta: dict[str, Any]) -> list[Any]:
        """Keeps a final record; returns the members that have finished by it. Raises as `finished`."""
        finished = []
        for leaf, index in self._waiting.pop(task_id, ()):
            leaf._settle(meta)
            leaf.maybe_throw(self._propagate)
            self._left[index] -= 1
            if self._left[index] == 0:
                finished.append(self._members[index])
        return finished


class _Barrier:
    """Calls `then` when all of `leaves` are known to have finished."""

    def __init__(self, leaves: list[AsyncResult[Any]], then: Callable[[], None]) -> None:
        self._left = len(leaves)
        self._then = then
        self._lock = threading.Lock()
        for leaf in leaves:
            leaf.on_ready.then(self._one_less)
        if not leaves:
            then()

    def _one_less(self, _: Any) -> None:
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self._then()


def _leaves(result: Any) -> Iterator[AsyncResult[Any]]:
    return result._leaves() if isinstance(result, ResultSet) else iter((result,))


def _state(leaf: AsyncResult[Any]) -> str:
    """As far as it is known: nothing is read."""
    return "PENDING" if leaf._cache is None else str(leaf._cache["status"])


def _value(member: Any, propagate: bool) -> Any:
    """Of one that has finished; None for a task that stores nothing."""
    if isinstance(member, ResultSet):
        return [_value(result, propagate) for result in member.results]
    return None if member.ignored else member.maybe_throw(propagate)


def result_from_tuple(value: Any, app: AppInterface | None = None) -> Any:
    """The reverse of `as_tuple`; accepts the lists that serializers make of tuples, plain ids and results."""
    if isinstance(value, ResultBase):
        return value
    if isinstance(value, str):
        return AsyncResult(value, app=app)
    head, members = value
    if isinstance(head, str):
        head = (head, None)
    result_id, parent = head
    above = result_from_tuple(parent, app) if parent else None
    if members is not None:
        return GroupResult(result_id, [result_from_tuple(member, app) for member in members], above, app)
    return AsyncResult(result_id, app=app, parent=above)


AsyncResult.from_tuple = staticmethod(result_from_tuple)
