"""What lower modules may ask of higher ones: small protocols, so that imports point one way."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from umbel._native import Client, MessageDict

__all__ = ["AppInterface", "MessageSender", "PreparedMessage", "RecordWriter", "RequestInterface", "ResultAccess"]


class RequestInterface(Protocol):
    """A running request, as ambient code sees it."""

    @property
    def id(self) -> Any:
        """Id of the task."""
        ...

    @property
    def task(self) -> Any:
        """Name of the task."""
        ...

    @property
    def root_id(self) -> str | None:
        """Id of the first task of the workflow."""
        ...

    @property
    def delivery_info(self) -> Any:
        """exchange, routing_key, priority, redelivered."""
        ...

    @property
    def called_directly(self) -> bool:
        """The task was called as a function: there is no message."""
        ...

    @property
    def is_eager(self) -> bool:
        """The task runs in place of being sent."""
        ...

    @property
    def outer(self) -> RequestInterface | None:
        """The request that was running when this one began."""
        ...

    @property
    def task_object(self) -> Any:
        """The task that runs."""
        ...


class RecordWriter(Protocol):
    """Writes records of results."""

    expires: float | None

    def expires_for(self, state: str) -> float | None:
        """Life of a record in that state, seconds; None: for ever."""
        ...

    def write(
        self,
        task_id: str,
        state: str,
        result: Any,
        traceback: str | None = None,
        request: Any = None,
        children: list[Any] | None = None,
        attempts: list[dict[str, Any]] | None = None,
    ) -> bytes:
        """Bytes of a record. Raises EncodeError."""
        ...

    def write_part(self, task_id: str, state: str, result: Any) -> bytes:
        """Bytes of a part of a chord. Raises EncodeError."""
        ...


class ResultAccess(Protocol):
    """Reads and writes records of results."""

    @property
    def format(self) -> RecordWriter:
        """How records are written."""
        ...

    @property
    def counts_chords(self) -> bool:
        """The store counts the parts of chords."""
        ...

    def read(self, task_id: str) -> dict[str, Any] | None:
        """The record, decoded, exceptions rebuilt; None while there is none."""
        ...

    def wait(
        self, task_id: str, timeout: float | None, on_message: Callable[[dict[str, Any]], Any] | None
    ) -> dict[str, Any]:
        """Blocks for a record in a ready state; `on_message` gets every record on the way.

        Raises `umbel.exceptions.TimeoutError`.
        """
        ...

    async def wait_async(
        self, task_id: str, timeout: float | None, on_message: Callable[[dict[str, Any]], Any] | None
    ) -> dict[str, Any]:
        """`wait` for the running event loop."""
        ...

    def read_many(self, task_ids: Sequence[str]) -> list[dict[str, Any] | None]:
        """The records, decoded, in that order; None where there is none."""
        ...

    def iter_ready(
        self,
        task_ids: Iterable[str],
        timeout: float | None = None,
        on_message: Callable[[dict[str, Any]], Any] | None = None,
        interval: float = 0.5,
        on_interval: Callable[[], Any] | None = None,
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Id and record of each, as they come to be in a ready state. Raises TimeoutError."""
        ...

    def iter_ready_async(
        self,
        task_ids: Sequence[str],
        timeout: float | None = None,
        on_message: Callable[[dict[str, Any]], Any] | None = None,
    ) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
        """`iter_ready` for the running event loop."""
        ...

    def add_pending_results(self, results: Iterable[Any]) -> None:
        """Tells result objects once their tasks have finished."""
        ...

    def remove_pending_result(self, result: Any) -> None:
        """Takes a result object from those that are told."""
        ...

    def save_group(self, group_id: str, group: Any) -> None:
        """Keeps the tuple of a group under its id."""
        ...

    def read_group(self, group_id: str) -> Any:
        """The tuple of a saved group; None if there is none."""
        ...

    def forget_group(self, group_id: str) -> None:
        """Deletes a saved group."""
        ...

    def store(
        self,
        task_id: str,
        state: str,
        result: Any,
        traceback: str | None = None,
        request: Any = None,
        children: list[Any] | None = None,
    ) -> None:
        """Writes a record. Raises EncodeError, OperationalError."""
        ...

    def forget(self, task_ids: Sequence[str]) -> int:
        """Deletes records; returns how many there were."""
        ...


class PreparedMessage(Protocol):
    """A message ready to be published."""

    @property
    def message(self) -> MessageDict:
        """For the core."""
        ...

    @property
    def task_id(self) -> str:
        """Id of its task."""
        ...


class MessageSender(Protocol):
    """Builds task messages, and does what goes with publishing them."""

    def prepare(self, name: str, args: Any, kwargs: Any, options: dict[str, Any], task: Any = None) -> PreparedMessage:
        """The message of a call; `options` are those of `apply_async`. Raises EncodeError, TypeError, ValueError."""
        ...

    def bind(self, batch: Sequence[Any]) -> None:
        """Makes sure that prepared messages for named exchanges will reach their queues."""
        ...

    def announce(self, batch: Sequence[Any]) -> None:
        """Sends `after_task_publish` for prepared messages that have been published."""
        ...


class AppInterface(Protocol):
    """An application, as tasks, results and the tracer see it."""

    @property
    def main(self) -> str | None:
        """Its name."""
        ...

    @property
    def conf(self) -> Any:
        """Its settings, by attribute."""
        ...

    @property
    def finalized(self) -> bool:
        """Its tasks are complete."""
        ...

    @property
    def client(self) -> Client:
        """The core's connection."""
        ...

    @property
    def control(self) -> Any:
        """Its way to the workers."""
        ...

    @property
    def results(self) -> ResultAccess:
        """Its results."""
        ...

    @property
    def sender(self) -> MessageSender:
        """Its way to the broker."""
        ...

    @property
    def tasks(self) -> Mapping[str, Any]:
        """Its tasks by name."""
        ...

    @property
    def timezone(self) -> tzinfo:
        """Its time zone."""
        ...

    def now(self) -> datetime:
        """This moment, in its time zone."""
        ...
