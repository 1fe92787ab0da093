"""What lower modules may ask of higher ones: small protocols, so that imports point one way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from umbel._native import Client, MessageDict
    from umbel.config.conf import Settings

__all__ = ["AppInterface", "MessageSender", "RequestInterface", "ResultReader", "TaskInterface"]


class RequestInterface(Protocol):
    """A running request, as ambient code sees it."""

    id: Any
    task: Any
    root_id: Any
    delivery_info: Any
    called_directly: bool
    is_eager: bool

    @property
    def outer(self) -> RequestInterface | None:
        """The request that was running when this one began."""

    @property
    def task_object(self) -> Any:
        """The task that runs."""


class TaskInterface(Protocol):
    """A registered task, as its application and the router see it."""

    name: str
    app: Any

    @property
    def serializer(self) -> str: ...
    @property
    def ignore_result(self) -> bool: ...


class ResultReader(Protocol):
    """Reads records of results for result objects."""

    def read(self, task_id: str) -> dict[str, Any] | None:
        """The record, decoded, exceptions rebuilt; None while there is none."""

    def wait(
        self, task_id: str, timeout: float | None, on_message: Callable[[dict[str, Any]], Any] | None
    ) -> dict[str, Any]:
        """Blocks for a record in a ready state; `on_message` gets every record on the way.

        Raises `umbel.exceptions.TimeoutError`.
        """

    async def wait_async(
        self, task_id: str, timeout: float | None, on_message: Callable[[dict[str, Any]], Any] | None
    ) -> dict[str, Any]:
        """`wait` for the running event loop."""

    def forget(self, task_ids: Sequence[str]) -> int:
        """Deletes records; returns how many there were."""


class MessageSender(Protocol):
    """Builds and publishes task messages."""

    def message(
        self, name: str, args: Any, kwargs: Any, options: dict[str, Any], task: Any = None
    ) -> tuple[MessageDict, str, bool | None]:
        """A message, its task id and whether its result is ignored. `options` are those of `apply_async`."""

    def signature_message(
        self, signature: Mapping[str, Any], args: Sequence[Any], options: dict[str, Any]
    ) -> tuple[MessageDict, str, bool | None]:
        """A message for a signature off the wire, with `args` before its own unless it is immutable."""

    def publish(self, name: str, messages: Sequence[MessageDict], options: Mapping[str, Any]) -> None:
        """Publishes; raises OperationalError when the broker cannot be reached in time."""


class AppInterface(Protocol):
    """An application, as tasks, results and the tracer see it."""

    main: str | None
    conf: Settings
    finalized: bool

    @property
    def client(self) -> Client: ...
    @property
    def results(self) -> ResultReader: ...
    @property
    def sender(self) -> MessageSender: ...
    @property
    def tasks(self) -> Mapping[str, Any]: ...
    @property
    def timezone(self) -> tzinfo: ...
    def now(self) -> datetime: ...
    def AsyncResult(self, id: str, **kwargs: Any) -> Any: ...  # noqa: N802, Celery's name
    def run_eagerly(self, task: Any, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        """Runs a task in place; returns an EagerResult."""
