"""`EagerResult`: the result of a task that ran in place."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeVar, cast

from umbel.result.async_result import AsyncResult, check_may_wait
from umbel.states import PROPAGATE_STATES, REVOKED, SUCCESS

__all__ = ["EagerResult"]

R = TypeVar("R", covariant=True)


class EagerResult(AsyncResult[R]):
    """Known from the start; nothing is read from a store."""

    __slots__ = ("_result", "_state", "_traceback")

    def __init__(
        self, id: str, ret_value: Any, state: str, traceback: str | None = None, name: str | None = None
    ) -> None:
        super().__init__(id, app=cast(Any, _NoApp), task_name=name)
        self._result = ret_value
        self._state = state
        self._traceback = traceback

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
            check_may_wait()
        return self._outcome_now(propagate)

    wait = get

    async def aget(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        callback: Callable[[str, Any], Any] | None = None,
        on_message: Callable[[dict[str, Any]], Any] | None = None,
    ) -> R:
        """`get` for coroutines."""
        return self._outcome_now(propagate)

    def __await__(self) -> Generator[Any, None, R]:
        return self.aget().__await__()

    def _outcome_now(self, propagate: bool) -> R:
        if self._state == SUCCESS or not (propagate and self._state in PROPAGATE_STATES):
            return cast(R, self._result)
        raise self._result if isinstance(self._result, BaseException) else Exception(self._result)

    def _meta(self) -> dict[str, Any]:
        return {
            "task_id": self.id,
            "result": self._result,
            "status": self._state,
            "traceback": self._traceback,
            "name": self._name,
            "children": None,
        }

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
        self._state = REVOKED

    def __repr__(self) -> str:
        return f"<EagerResult: {self.id}>"

    def __copy__(self) -> EagerResult[R]:
        return EagerResult(self.id, self._result, self._state, self._traceback, self._name)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return EagerResult, (self.id, self._result, self._state, self._traceback, self._name)


class _NoApp:
    """In place of an application: an eager result asks it for nothing."""
