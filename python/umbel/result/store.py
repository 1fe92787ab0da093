"""Reads results through the extension's client: one listener serves all waits of a process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from umbel import _native
from umbel._interfaces import AppInterface
from umbel.exceptions import TimeoutError, from_native
from umbel.result.records import RecordFormat
from umbel.states import READY_STATES

__all__ = ["ResultStore"]

OnMessage = Callable[[dict[str, Any]], Any]


class ResultStore:
    """An application's results. Thread-safe."""

    def __init__(self, app: AppInterface) -> None:
        self._app = app
        self.format = RecordFormat(app)
        self._watcher = _Watcher(app)

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
        self._client()
        records: asyncio.Queue[bytes] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        self._watcher.add(task_id, loop, records)
        try:
            return await asyncio.wait_for(self._until_ready(records, on_message), timeout)
        except asyncio.TimeoutError:
            raise TimeoutError(f"No result of {task_id} within {timeout}s") from None
        finally:
            self._watcher.remove(task_id, loop, records)

    async def _until_ready(self, records: asyncio.Queue[bytes], on_message: OnMessage | None) -> dict[str, Any]:
        while True:
            meta = self.format.read(await records.get())
            if on_message is not None:
                on_message(meta)
            if meta["status"] in READY_STATES:
                return meta

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

    def _client(self) -> _native.Client:
        if self._app.conf.result_backend in (None, "", "disabled", "disabled://"):
            raise NotImplementedError(
                "No result backend is configured: set result_backend, for example to redis://localhost/1"
            )
        return self._app.client


class _Watcher:
    """Hands records of watched ids to the event loops that wait for them."""

    def __init__(self, app: AppInterface) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._queues: dict[str, list[tuple[asyncio.AbstractEventLoop, asyncio.Queue[bytes]]]] = {}

    def add(self, task_id: str, loop: asyncio.AbstractEventLoop, queue: asyncio.Queue[bytes]) -> None:
        with self._lock:
            client = self._app.client
            if not self._waits(loop):
                loop.add_reader(client.fileno(), self._drain)
            self._queues.setdefault(task_id, []).append((loop, queue))
            # Asked for again even if watched already: the present record is then handed out to the newcomer too.
            client.watch(task_id)

    def remove(self, task_id: str, loop: asyncio.AbstractEventLoop, queue: asyncio.Queue[bytes]) -> None:
        with self._lock:
            left = [entry for entry in self._queues.get(task_id, ()) if entry[1] is not queue]
            if left:
                self._queues[task_id] = left
            else:
                self._queues.pop(task_id, None)
                self._app.client.unwatch(task_id)
            if not self._waits(loop):
                loop.remove_reader(self._app.client.fileno())

    def _waits(self, loop: asyncio.AbstractEventLoop) -> bool:
        return any(entry[0] is loop for entries in self._queues.values() for entry in entries)

    def _drain(self) -> None:
        # Any loop may be woken for a record another one waits for.
        for task_id, data in self._app.client.drain():
            with self._lock:
                waiting = list(self._queues.get(task_id, ()))
            for loop, queue in waiting:
                loop.call_soon_threadsafe(queue.put_nowait, data)
