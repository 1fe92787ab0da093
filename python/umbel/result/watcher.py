"""Waits for results in coroutines: the event loop is woken by one descriptor for all of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from umbel import _native
from umbel.exceptions import TimeoutError, from_native
from umbel.states import READY_STATES

__all__ = ["ResultWatcher"]

OnMessage = Callable[[dict[str, Any]], Any]
Waiting = tuple[asyncio.AbstractEventLoop, "asyncio.Queue[bytes]"]


class ResultWatcher:
    """Hands records of watched ids to the event loops that wait for them. Thread-safe."""

    def __init__(self, client: Callable[[], _native.Client], read: Callable[[bytes], dict[str, Any]]) -> None:
        self._client = client
        self._read = read
        self._lock = threading.Lock()
        self._waiting: dict[str, list[Waiting]] = {}
        #: Descriptor each loop reads; a client made after a change of settings has another.
        self._readers: dict[asyncio.AbstractEventLoop, tuple[int, _native.Client]] = {}

    async def wait(self, task_id: str, timeout: float | None, on_message: OnMessage | None) -> dict[str, Any]:
        """The record, once it is in a ready state. Raises umbel's TimeoutError, OperationalError."""
        records: asyncio.Queue[bytes] = asyncio.Queue()
        entry: Waiting = (asyncio.get_running_loop(), records)
        try:
            self._add(task_id, entry)
            return await asyncio.wait_for(self._until_ready(records, on_message), timeout)
        except asyncio.TimeoutError:
            raise TimeoutError(f"No result of {task_id} within {timeout}s") from None
        except _native.NativeError as error:
            raise from_native(error) from error
        finally:
            self._remove(task_id, entry)

    async def _until_ready(self, records: asyncio.Queue[bytes], on_message: OnMessage | None) -> dict[str, Any]:
        while True:
            meta = self._read(await records.get())
            if on_message is not None:
                on_message(meta)
            if meta["status"] in READY_STATES:
                return meta

    def _add(self, task_id: str, entry: Waiting) -> None:
        loop = entry[0]
        client = self._client()
        with self._lock:
            known = self._readers.get(loop)
            if known is None or known[1] is not client:
                if known is not None:
                    loop.remove_reader(known[0])
                descriptor = client.fileno()
                loop.add_reader(descriptor, self._drain, client)
                self._readers[loop] = (descriptor, client)
            self._waiting.setdefault(task_id, []).append(entry)
        # Asked for again even if watched already: the present record is then handed out to the newcomer too.
        client.watch(task_id)

    def _remove(self, task_id: str, entry: Waiting) -> None:
        loop = entry[0]
        with self._lock:
            left = [other for other in self._waiting.get(task_id, ()) if other[1] is not entry[1]]
            if left:
                self._waiting[task_id] = left
            elif self._waiting.pop(task_id, None) is not None:
                self._client().unwatch(task_id)
            if not any(other[0] is loop for entries in self._waiting.values() for other in entries):
                reader = self._readers.pop(loop, None)
                if reader is not None:
                    loop.remove_reader(reader[0])

    def _drain(self, client: _native.Client) -> None:
        # Any loop may be woken for a record another one waits for.
        for task_id, data in client.drain():
            with self._lock:
                waiting = list(self._waiting.get(task_id, ()))
            for loop, queue in waiting:
                loop.call_soon_threadsafe(queue.put_nowait, data)
