"""A counter that every process and thread of a worker adds to, outside of any broker.

One file of 8-byte numbers, a number for each thread that counts: nothing is shared, so nothing is locked, and adding
one takes a tenth of a microsecond. It says when the first task ran and when the last one had, for every library alike
and without asking its broker.
"""

from __future__ import annotations

import array
import mmap
import os
import threading
import time
from pathlib import Path

_WIDTH = 8


class Tally:
    """Of one file. Threads and forked processes may `add`; anyone may read the `total`."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._own = threading.local()
        # A forked child must not go on writing its parent's number.
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._own = threading.local()

    def add(self) -> None:
        """Counts one."""
        try:
            number = self._own.number
        except AttributeError:
            number = self._own.number = self._claim()
        number[0] += 1

    def _claim(self) -> memoryview:
        """A number of the calling thread's own, at the file's end."""
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(file, bytes(_WIDTH))
            end = os.lseek(file, 0, os.SEEK_CUR)
            memory = mmap.mmap(file, end)
        finally:
            os.close(file)
        return memoryview(memory)[end - _WIDTH : end].cast("Q")

    def total(self) -> int:
        """How often `add` was called, by all."""
        try:
            return sum(array.array("Q", self._path.read_bytes()))
        except FileNotFoundError:
            return 0

    def clear(self) -> None:
        """Begins at nought; only while nobody adds."""
        self._path.unlink(missing_ok=True)

    def wait(self, total: int, seconds: float, pause: float = 0.005) -> int:
        """Waits until the total is at least `total`. Raises TimeoutError, with the total, after `seconds`."""
        deadline = time.monotonic() + seconds
        while (found := self.total()) < total:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{found:,} of {total:,} tasks have run after {seconds:g} s")
            time.sleep(pause)
        return found
