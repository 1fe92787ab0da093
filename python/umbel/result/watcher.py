"""Waits for results in coroutines: the event loop is woken by one descriptor for all of them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

from umbel import _native
from umbel.exceptions import TimeoutError, from_native
from umbel.result.waiting import unfinished
from umbel.states import READY_STATES

__all__ = ["ResultWatcher"]

OnMessage = Callable[[dict[str, Any]], Any]
News = asyncio.Queue[tuple[str, bytes]]
Waiting = tuple[asyncio.AbstractEventLoop, News]


class _Reader:
    """How a loop is woken. A client made after a change of settings has another descriptor."""

    def __init__(self, client: _native.Client) -> None:
        self.client = client
        self.descriptor = client.fileno()
        #: How many waits of this loop there are.
        self.waits = 0


class ResultWatcher:
    """Hands records of watched ids to the event loops that wait for them. Thread-safe."""

    def __init__(self, client: Callable[[], _native.Client], read: Callable[[bytes], dict[str, Any]]) -> None:
        self._client = client
        self._read = read
        self._lock = threading.Lock()
        self._waiting: dict[str, list[Waiting]] = {}
        self._readers: dict[asyncio.AbstractEventLoop, _Reader] = {}

    async def wait(self, task_id: str, timeout: float | None, on_message: OnMessage | None) -> dict[str, Any]:
        """The record, once it is in a ready state. Raises umbel's TimeoutError, OperationalError."""
        records = self.iterate([task_id], timeout, on_message)
        try:
            return (await anext(records))[1]
        finally:
            await records.aclose()

    async def iterate(
        self, task_ids: Sequence[str], timeout: float | None, on_message: OnMessage | None
    ) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
        """Id and record of each, as they come to be in a ready state. Raises as `wait`; `timeout` is for all."""
        deadline = None if timeout is None else time.monotonic() + timeout
        left = set(task_ids)
        entry: Waiting = (asyncio.get_running_loop(), asyncio.Queue())
        try:
            self._add(task_ids, entry)
            while left:
                task_id, data = await _next(entry[1], deadline)
                meta = self._read(data)
                if on_message is not None:
                    on_message(meta)
                if meta["status"] in READY_STATES and task_id in left:
                    left.remove(task_id)
                    yield task_id, meta
        except asyncio.TimeoutError:
            raise TimeoutError(unfinished(left, timeout)) from None
        except _native.NativeError as error:
            raise from_native(error) from error
        finally:
            self._remove(task_ids, entry)

    def _add(self, task_ids: Sequence[str], entry: Waiting) -> None:
        loop = entry[0]
        client = self._client()
        with self._lock:
            reader = self._readers.get(loop)
            if reader is None or reader.client is not client:
                if reader is not None:
                    loop.remove_reader(reader.descriptor)
                former, reader = reader, _Reader(client)
                reader.waits = 0 if former is None else former.waits
                loop.add_reader(reader.descriptor, self._drain, client)
                self._readers[loop] = reader
            reader.waits += 1
            for task_id in task_ids:
                self._waiting.setdefault(task_id, []).append(entry)
        # Asked for again even if watched already: the present record is then handed out to the newcomer too.
        for task_id in task_ids:
            client.watch(task_id)

    def _remove(self, task_ids: Sequence[str], entry: Waiting) -> None:
        loop = entry[0]
        with self._lock:
            known = False
            for task_id in task_ids:
                waiting = self._waiting.get(task_id, [])
                left = [other for other in waiting if other[1] is not entry[1]]
                known = known or len(left) < len(waiting)
                if left:
                    self._waiting[task_id] = left
                elif self._waiting.pop(task_id, None) is not None:
                    self._client().unwatch(task_id)
            reader = self._readers.get(loop)
            if reader is not None and known:
                reader.waits -= 1
                if reader.waits == 0:
                    loop.remove_reader(reader.descriptor)
                    del self._readers[loop]

    def _drain(self, client: _native.Client) -> None:
        # Any loop may be woken for a record another one waits for.
        for task_id, data in client.drain():
            with self._lock:
                waiting = list(self._waiting.get(task_id, ()))
            for loop, queue in waiting:
                loop.call_soon_threadsafe(queue.put_nowait, (task_id, data))


async def _next(news: News, deadline: float | None) -> tuple[str, bytes]:
    if deadline is None or not news.empty():
        return await news.get()
    return await asyncio.wait_for(news.get(), max(0.0, deadline - time.monotonic()))
