"""Reads results through the extension's client: one listener serves all waits of a process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from umbel import _native
from umbel._interfaces import AppInterface
from umbel.exceptions import TimeoutError, from_native
from umbel.result.records import RecordFormat
from umbel.states import READY_STATES

if TYPE_CHECKING:
    from umbel.result.watcher import ResultWatcher

__all__ = ["ResultStore"]

OnMessage = Callable[[dict[str, Any]], Any]


class ResultStore:
    """An application's results. Thread-safe."""

    def __init__(self, app: AppInterface) -> None:
        self._app = app
        self.format = RecordFormat(app)
        self._watcher: ResultWatcher | None = None

    def read(self, task_id: str) -> dict[str, Any] | None:
        """The record, decoded; None while there is none. Raises OperationalError."""
        try:
            data = self._client().read_results([task_id])[0]
        except _native.NativeError as error:
            raise from_native(error) from error
        return None if data is None else self.format.read(data)

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

    async def wait_async(self, task_id: str, timeout: float | None, on_message: OnMessage | None) -> dict[str, Any]:
        """`wait` without blocking the event loop."""
        if self._watcher is None:
            # Half of the time `import umbel` would take is asyncio's; here it is loaded already.
            from umbel.result.watcher import ResultWatcher

            self._watcher = ResultWatcher(self._client, self.format.read)
        return await self._watcher.wait(task_id, timeout, on_message)

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

    def forget(self, task_ids: Sequence[str]) -> int:
        """Deletes records; returns how many there were. Raises OperationalError."""
        try:
            return self._client().forget_results(list(task_ids))
        except _native.NativeError as error:
            raise from_native(error) from error

    # --- chords

    def start_chord(self, group_id: str, size: int) -> None:
        """A chord begins whose body waits for `size` results. Raises NotImplementedError without a result store."""
        conf = self._app.conf
        expires = conf.result_expires if conf.result_chord_expires is None else conf.result_chord_expires
        try:
            self._client().start_chord(group_id, size, expires or None)
        except _native.NativeError as error:
            raise from_native(error) from error

    def extend_chord(self, group_id: str) -> None:
        """A chord waits for one more result."""
        try:
            self._client().extend_chord(group_id)
        except _native.NativeError as error:
            raise from_native(error) from error

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
