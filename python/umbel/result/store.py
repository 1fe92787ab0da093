"""Reads results through the extension's client: one listener serves all waits of a process."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from umbel import _native
from umbel._interfaces import AppInterface
from umbel.backends.opening import is_native
from umbel.exceptions import TimeoutError, from_native
from umbel.result.backend_names import BackendNames
from umbel.result.records import RecordFormat
from umbel.result.waiting import unfinished
from umbel.states import READY_STATES

if TYPE_CHECKING:
    from umbel.result.pending import PendingResults
    from umbel.result.watcher import ResultWatcher

__all__ = ["ResultStore"]

OnMessage = Callable[[dict[str, Any]], Any]

#: Name of a saved group's record: this and its id.
_SAVED_GROUP = "celery-taskset-meta-"


class ResultStore(BackendNames):
    """An application's results. Thread-safe."""

    def __init__(self, app: AppInterface) -> None:
        self._app = app
        self.format = RecordFormat(app)
        self._watcher: ResultWatcher | None = None
        self._pending: PendingResults | None = None

    def read(self, task_id: str) -> dict[str, Any] | None:
        """The record, decoded; None while there is none. Raises OperationalError."""
        return self.read_many([task_id])[0]

    def read_many(self, task_ids: Sequence[str]) -> list[dict[str, Any] | None]:
        """The records, decoded, in few round trips; None where there is none. Raises OperationalError."""
        try:
            found = self._client().read_results(list(task_ids))
        except _native.NativeError as error:
            raise from_native(error) from error
        return [None if data is None else self.format.read(data) for data in found]

    def wait(self, task_id: str, timeout: float | None, on_message: OnMessage | None) -> dict[str, Any]:
        """Blocks until the record is in a ready state. Raises umbel's TimeoutError, OperationalError."""
        client = self._client()
        deadline = None if timeout is None else time.monotonic() + timeout
        seen: bytes | None = None
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                data = client.wait_result(task_id, seen, left)
            except _native.NativeError as error:
                raise from_native(error) from error
            if data is None:
                raise TimeoutError(f"No result of {task_id} within {timeout}s")
            meta = self.format.read(data)
            if on_message is not None:
                on_message(meta)
            if meta["status"] in READY_STATES:
                return meta
            seen = data

    def iter_ready(
        self,
        task_ids: Iterable[str],
        timeout: float | None = None,
        on_message: OnMessage | None = None,
        interval: float = 0.5,
        on_interval: Callable[[], Any] | None = None,
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Id and record of each task, as they come to be in a ready state; one listener hears of all.

        `timeout` (seconds) is for all of them; `on_interval` is called every `interval` seconds without news. Raises
        umbel's TimeoutError, OperationalError.
        """
        left = set(task_ids)
        if timeout is not None and timeout <= 0:
            yield from self._ready_now(left, timeout)
            return
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            stream = self._client().stream(list(left))
            try:
                while left:
                    news = self._news(stream, deadline, interval if on_interval else None)
                    for task_id, data in news:
                        meta = self.format.read(data)
                        if on_message is not None:
                            on_message(meta)
                        if meta["status"] in READY_STATES and task_id in left:
                            left.remove(task_id)
                            yield task_id, meta
                    if left and deadline is not None and time.monotonic() >= deadline:
                        raise TimeoutError(unfinished(left, timeout))
                    if not news and on_interval is not None:
                        on_interval()
            finally:
                stream.close()
        except _native.NativeError as error:
            raise from_native(error) from error

    @staticmethod
    def _news(stream: _native.ResultStream, deadline: float | None, interval: float | None) -> list[tuple[str, bytes]]:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        pauses = [pause for pause in (left, interval) if pause is not None]
        return stream.next(min(pauses, default=None))

    def _ready_now(self, task_ids: set[str], timeout: float) -> Iterator[tuple[str, dict[str, Any]]]:
        ids = list(task_ids)
        for task_id, meta in zip(ids, self.read_many(ids), strict=True):
            if meta is not None and meta["status"] in READY_STATES:
                task_ids.remove(task_id)
                yield task_id, meta
        if task_ids:
            raise TimeoutError(unfinished(task_ids, timeout))

    async def wait_async(self, task_id: str, timeout: float | None, on_message: OnMessage | None) -> dict[str, Any]:
        """`wait` without blocking the event loop."""
        return await self._watching().wait(task_id, timeout, on_message)

    def iter_ready_async(
        self, task_ids: Sequence[str], timeout: float | None = None, on_message: OnMessage | None = None
    ) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
        """`iter_ready` without blocking the event loop."""
        return self._watching().iterate(task_ids, timeout, on_message)

    def _watching(self) -> ResultWatcher:
        if self._watcher is None:
            # Half of the time `import umbel` would take is asyncio's; here it is loaded already.
            from umbel.result.watcher import ResultWatcher

            self._watcher = ResultWatcher(self._client, self.format.read)
        return self._watcher

    def add_pending_results(self, results: Iterable[Any]) -> None:
        """Tells result objects once their tasks have finished (`then`). Raises OperationalError."""
        if self._pending is None:
            from umbel.result.pending import PendingResults

            self._pending = PendingResults(self._client, self.format.read)
        try:
            self._pending.add(results)
        except _native.NativeError as error:
            raise from_native(error) from error

    def remove_pending_result(self, result: Any) -> None:
        """Takes a result object from those that are told."""
        if self._pending is not None:
            self._pending.remove(result)

    def close(self) -> None:
        """Ends the thread of `add_pending_results`; what waits is not told any more."""
        if self._pending is not None:
            self._pending.close()

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
        data = self.format.write(task_id, state, result, traceback, request, children)
        try:
            self._client().store_result(task_id, state, data, self.format.expires_for(state))
        except _native.NativeError as error:
            raise from_native(error) from error

    def save_group(self, group_id: str, group: Any) -> None:
        """Keeps the tuple of a group under its id, as long as results live. Raises EncodeError, OperationalError."""
        name = _SAVED_GROUP + group_id
        data = self.format.write_group(group)
        try:
            self._client().store_result(name, "", data, self.format.expires)
        except _native.NativeError as error:
            raise from_native(error) from error

    def read_group(self, group_id: str) -> Any:
        """The tuple of a saved group; None if there is none. Raises OperationalError, DecodeError."""
        try:
            data = self._client().read_results([_SAVED_GROUP + group_id])[0]
        except _native.NativeError as error:
            raise from_native(error) from error
        return None if data is None else self.format.read_group(data)

    def forget_group(self, group_id: str) -> None:
        """Deletes a saved group. Raises OperationalError."""
        self.forget([_SAVED_GROUP + group_id])

    def forget(self, task_ids: Sequence[str]) -> int:
        """Deletes records; returns how many there were. Raises OperationalError."""
        try:
            return self._client().forget_results(list(task_ids))
        except _native.NativeError as error:
            raise from_native(error) from error

    def remove_expired(self) -> int:
        """Deletes expired records where the store does not do so itself; returns how many. Raises OperationalError."""
        try:
            return self._client().remove_expired_results()
        except _native.NativeError as error:
            raise from_native(error) from error

    # --- chords

    @property
    def counts_chords(self) -> bool:
        """The store counts the parts of chords. Otherwise a message that is sent with the header looks for them."""
        return is_native(self._app.conf.result_backend)

    def start_chord(self, group_id: str, size: int) -> None:
        """A chord begins whose body waits for `size` results. Raises NotImplementedError without a result store."""
        conf = self._app.conf
        expires = conf.result_expires if conf.result_chord_expires is None else conf.result_chord_expires
        try:
            self._client().start_chord(group_id, size, expires or None)
        except _native.NativeError as error:
            raise from_native(error) from error

    def extend_chord(self, group_id: str, member_id: str, added: Sequence[Any]) -> None:
        """A chord waits for one more result: the last of those that its member has `added`, which are result tuples."""
        if not self.counts_chords:
            self.save_group(f"{group_id}.{member_id}", [[member_id, None], list(added)])
            return
        try:
            self._client().extend_chord(group_id)
        except _native.NativeError as error:
            raise from_native(error) from error

    def added_to_chord(self, group_id: str, member_ids: Sequence[str]) -> list[Any]:
        """Result tuples that these members added to a chord whose parts nobody counts."""
        names = [f"{_SAVED_GROUP}{group_id}.{member_id}" for member_id in member_ids]
        try:
            found = self._client().read_results(names)
        except _native.NativeError as error:
            raise from_native(error) from error
        saved = (self.format.read_group(data) for data in found if data is not None)
        return [result for group in saved for result in group[1]]

    def chord_parts(self, group_id: str) -> list[bytes]:
        """The parts of a chord, in order; none once its body went out."""
        try:
            return self._client().chord_parts(group_id)
        except _native.NativeError as error:
            raise from_native(error) from error

    def _client(self) -> _native.Client:
        if self._app.conf.result_backend in (None, "", "disabled", "disabled://"):
            raise NotImplementedError(
                "No result backend is configured: set result_backend, for example to redis://localhost/1"
            )
        return self._app.client
