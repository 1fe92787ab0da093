"""Results whose `then` callbacks wait: one thread, started by the first, hears of them all."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from umbel import _native
from umbel.states import READY_STATES

if TYPE_CHECKING:
    from umbel.result.async_result import AsyncResult

__all__ = ["PendingResults"]

logger = logging.getLogger("umbel.result")

#: Pause after an error of the store (seconds).
_PAUSE = 1.0


class PendingResults:
    """Of one result store. Thread-safe; a forked child starts with none."""

    def __init__(self, client: Callable[[], _native.Client], read: Callable[[bytes], dict[str, Any]]) -> None:
        self._client = client
        self._read = read
        self._lock = threading.Lock()
        self._waiting: dict[str, list[AsyncResult[Any]]] = {}
        self._stream: _native.ResultStream | None = None
        self._closed = threading.Event()
        self._process = os.getpid()

    def add(self, results: Iterable[AsyncResult[Any]]) -> None:
        """Tells these results once their records are in a ready state. Raises OperationalError of the core."""
        with self._here():
            new = []
            for result in results:
                known = self._waiting.setdefault(result.id, [])
                if not any(other is result for other in known):
                    known.append(result)
                    new.append(result.id)
            if self._stream is not None:
                self._stream.add(new)
            elif new:
                self._closed.clear()
                self._stream = self._client().stream(new)
                threading.Thread(target=self._run, args=(self._stream,), name="umbel-then", daemon=True).start()

    def remove(self, result: AsyncResult[Any]) -> None:
        """Tells this result nothing any more."""
        with self._here():
            left = [other for other in self._waiting.get(result.id, ()) if other is not result]
            if left:
                self._waiting[result.id] = left
            elif self._waiting.pop(result.id, None) is not None and self._stream is not None:
                self._stream.remove([result.id])

    def close(self) -> None:
        """Forgets all; the thread ends."""
        with self._here():
            self._waiting.clear()
            self._closed.set()
            if self._stream is not None:
                self._stream.close()
                self._stream = None

    def _here(self) -> threading.Lock:
        if self._process != os.getpid():
            # The parent's lock may be held by a thread that this process does not have.
            self._lock, self._waiting, self._stream, self._process = threading.Lock(), {}, None, os.getpid()
        return self._lock

    def _run(self, stream: _native.ResultStream) -> None:
        while not self._closed.is_set():
            try:
                news = stream.next(None)
            except _native.NativeError as error:
                logger.warning("Callbacks of results wait: %s", error)
                self._closed.wait(_PAUSE)
                continue
            for task_id, data in news:
                self._tell(task_id, data)
            with self._lock:
                if self._stream is not stream or not self._waiting:
                    # The next `add` starts another thread.
                    if self._stream is stream:
                        self._stream = None
                    break
        stream.close()

    def _tell(self, task_id: str, data: bytes) -> None:
        try:
            meta = self._read(data)
        except Exception:
            logger.exception("The record of %s cannot be read", task_id)
            return
        if meta["status"] not in READY_STATES:
            return
        with self._lock:
            results = self._waiting.pop(task_id, [])
            if self._stream is not None:
                self._stream.remove([task_id])
        for result in results:
            # A record is a value that results may keep, not share.
            result._settle(dict(meta))
