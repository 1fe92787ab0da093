"""A file with the worker's process id, so that scripts find it and two workers do not share it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


class PidFileTakenError(Exception):
    """Another live process holds the file."""


class PidFile:
    """Held from `acquire` to `release`."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._pid = 0

    def acquire(self) -> None:
        """Writes this process's id; a file left by a process that is gone is replaced.

        Raises:
            PidFileTakenError: Its process is alive.
            OSError: It cannot be written.
        """
        pid = os.getpid()
        # Written under another name first: nobody must find it empty, and take it for one that was left behind.
        draft = self._path.with_name(f"{self._path.name}.{pid}")
        draft.write_text(f"{pid}\n")
        try:
            while True:
                with contextlib.suppress(FileExistsError):
                    os.link(draft, self._path)
                    break
                self._remove_if_stale()
        finally:
            draft.unlink()
        self._pid = pid

    def release(self) -> None:
        """Removes the file, if it is still this process's."""
        if self._pid == os.getpid() and self._holder() == self._pid:
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()
        self._pid = 0

    def _remove_if_stale(self) -> None:
        holder = self._holder()
        if holder is not None and holder != os.getpid() and _alive(holder):
            raise PidFileTakenError(f"pidfile {self._path} belongs to process {holder}, which is alive")
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()

    def _holder(self) -> int | None:
        try:
            return int(self._path.read_text().strip())
        except (FileNotFoundError, ValueError):
            return None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
