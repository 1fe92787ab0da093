"""`EagerResult`: the result of a task that ran in place."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeVar, cast

from umbel.result.async_result import AsyncResult
from umbel.result.waiting import assert_will_not_block
from umbel.states import REVOKED

__all__ = ["EagerResult"]

R = TypeVar("R", covariant=True)


class EagerResult(AsyncResult[R]):
    """Known from the start; nothing is read from a store."""

    __slots__ = ()

    def __init__(
        self, id: str, ret_value: Any, state: str, traceback: str | None = None, name: str | None = None
    ) -> None:
        super().__init__(id, app=cast(Any, _NoApp), task_name=name)
        self._cache = {
            "task_id": id,
            "result": ret_value,
            "status": state,
            "traceback": traceback,
            "name": name,
            "children": None,
        }

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
        """What the task returned; raises what it raised if `propagate`."""
        if disable_sync_subtasks:
            assert_will_not_block()
        return cast(R, self.maybe_throw(propagate, callback))

    wait = get

    async def aget(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        callback: Callable[[str, Any], Any] | None = None,
        on_message: Callable[[dict[str, Any]], Any] | None = None,
    ) -> R:
        """`get` for coroutines."""
        return cast(R, self.maybe_throw(propagate, callback))

    def __await__(self) -> Generator[Any, None, R]:
        return self.aget().__await__()

    def throw(self, error: Any, traceback: str | None = None) -> None:
        """Raises `error`."""
        raise error if isinstance(error, BaseException) else Exception(error)

    def _iter_unread(self) -> Iterator[AsyncResult[Any]]:
        return iter(())

    @property
    def supports_native_join(self) -> bool:
        """There is nothing to wait for."""
        return False

    def ready(self) -> bool:
        """Always."""
        return True

    def exists(self) -> bool:
        """Always."""
        return True

    def forget(self) -> None:
        """There is nothing to delete."""

    def revoke(self, *args: Any, **kwargs: Any) -> None:
        """Too late: it only changes the state shown."""
        self._meta()["status"] = REVOKED

    def __repr__(self) -> str:
        return f"<EagerResult: {self.id}>"

    def __copy__(self) -> EagerResult[R]:
        make, arguments = self.__reduce__()
        return cast("EagerResult[R]", make(*arguments))

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        meta = self._meta()
        return EagerResult, (self.id, meta["result"], meta["status"], meta["traceback"], self._name)


class _NoApp:
    """In place of an application: an eager result asks it for nothing."""
