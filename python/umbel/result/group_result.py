"""`GroupResult`: the results of tasks that belong together, in the order in which they were sent."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from umbel.result.async_result import AsyncResult, check_may_wait
from umbel.states import PROPAGATE_STATES

if TYPE_CHECKING:
    from umbel._interfaces import AppInterface

__all__ = ["GroupResult", "ResultSet", "result_from_tuple"]

R = TypeVar("R", covariant=True)


class ResultSet(Generic[R]):
    """Several results, waited for together."""

    def __init__(self, results: Sequence[Any]) -> None:
        self.results: list[Any] = list(results)

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        callback: Callable[[str, Any], Any] | None = None,
        on_message: Callable[[dict[str, Any]], Any] | None = None,
        disable_sync_subtasks: bool = True,
    ) -> list[R]:
        """Blocks until all have finished and returns what they returned.

        `timeout` is for all of them, seconds; `propagate` raises the first exception in order. Raises as
        `AsyncResult.get`.
        """
        if disable_sync_subtasks:
            check_may_wait()
        deadline = None if timeout is None else time.monotonic() + timeout
        values = []
        for result in self.results:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            values.append(
                result.get(
                    timeout=left,
                    propagate=propagate,
                    callback=callback,
                    on_message=on_message,
                    disable_sync_subtasks=False,
                )
            )
        return values

    join = get
    join_native = get

    def revoke(
        self,
        connection: Any = None,
        terminate: bool = False,
        signal: str | int | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Revokes all of them in one command; the rest is as for `AsyncResult.revoke`."""
        if self.results:
            self.results[0].app.control.revoke(
                [result.id for result in self.results],
                terminate=terminate,
                signal=signal or "SIGTERM",
                reply=wait,
                timeout=timeout,
            )

    async def aget(self, timeout: float | None = None, propagate: bool = True) -> list[R]:
        """`get` for coroutines."""
        deadline = None if timeout is None else time.monotonic() + timeout
        values = []
        for result in self.results:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            values.append(await result.aget(timeout=left, propagate=propagate))
        return values

    def __await__(self) -> Generator[Any, None, list[R]]:
        return self.aget().__await__()

    def ready(self) -> bool:
        """True once all have finished."""
        return all(result.ready() for result in self.results)

    def successful(self) -> bool:
        """True once all have succeeded."""
        return all(result.successful() for result in self.results)

    def failed(self) -> bool:
        """True if any has failed."""
        return any(result.failed() for result in self.results)

    def waiting(self) -> bool:
        """True while any is unfinished."""
        return not self.ready()

    def completed_count(self) -> int:
        """How many have succeeded."""
        return sum(1 for result in self.results if result.successful())

    def maybe_throw(self, propagate: bool = True, callback: Callable[[str, Any], Any] | None = None) -> None:
        """Raises the first exception in order, of those that have finished."""
        for result in self.results:
            if result.state in PROPAGATE_STATES:
                result.maybe_throw(propagate=propagate, callback=callback)

    def forget(self) -> None:
        """Deletes all records."""
        for result in self.results:
            result.forget()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.results)

    def __getitem__(self, index: int) -> Any:
        return self.results[index]

    def __len__(self) -> int:
        return len(self.results)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: [{', '.join(result.id for result in self.results)}]>"


class GroupResult(ResultSet[R]):
    """The results of a group, which has an id of its own."""

    def __init__(self, id: str, results: Sequence[Any], parent: AsyncResult[Any] | None = None) -> None:
        super().__init__(results)
        self.id = id
        self.parent = parent

    @property
    def children(self) -> list[Any]:
        """The results of its members."""
        return self.results

    def as_tuple(self) -> tuple[tuple[str, Any], list[Any]]:
        """`((id, parent's tuple or None), [members' tuples])`: the form that serializes."""
        parent = self.parent.as_tuple() if self.parent is not None else None
        return (self.id, parent), [result.as_tuple() for result in self.results]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, GroupResult):
            return (other.id, other.results, other.parent) == (self.id, self.results, self.parent)
        return other == self.id if isinstance(other, str) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __bool__(self) -> bool:
        # A group is a result even if it has no members.
        return True

    def __str__(self) -> str:
        return self.id

    def __repr__(self) -> str:
        return f"<GroupResult: {self.id} [{', '.join(str(result.id) for result in self.results)}]>"


def result_from_tuple(value: Any, app: AppInterface | None = None) -> Any:
    """The reverse of `as_tuple`; accepts the lists that serializers make of tuples, plain ids and results."""
    if isinstance(value, (AsyncResult, GroupResult)):
        return value
    if isinstance(value, str):
        return AsyncResult(value, app=app)
    head, members = value
    if isinstance(head, str):
        head = (head, None)
    result_id, parent = head
    above = result_from_tuple(parent, app) if parent else None
    if members is not None:
        return GroupResult(result_id, [result_from_tuple(member, app) for member in members], above)
    return AsyncResult(result_id, app=app, parent=above)


AsyncResult.from_tuple = staticmethod(result_from_tuple)
