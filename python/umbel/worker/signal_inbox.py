"""Signals of the operating system as something a selector can wait for.

The C handler writes the number into a pipe, so signals are seen even while the main thread is deep in foreign code.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Iterable
from types import FrameType
from typing import Any

#: What a worker's main process listens to.
HANDLED = ("SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGCHLD")


class SignalInbox:
    """Collects signals from `install` to `close`; both belong to the main thread."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._former: dict[int, Any] = {}
        self._former_wakeup = -1
        self._lock = threading.Lock()
        self._closed = False

    def install(self, names: Iterable[str] = HANDLED) -> None:
        """Takes over the named signals, and SIGUSR1 for a dump of all threads."""
        for name in names:
            number = getattr(signal, name, None)
            if number is not None:
                self._former[number] = signal.signal(number, _noted)
        if hasattr(signal, "SIGUSR1") and sys.__stderr__ is not None:
            faulthandler.register(signal.SIGUSR1, file=sys.__stderr__, all_threads=True)
        self._former_wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    def fileno(self) -> int:
        """Readable while `take` has something."""
        return self._read

    def take(self) -> list[int]:
        """Numbers of the signals that came since the last call."""
        try:
            return list(os.read(self._read, 512))
        except BlockingIOError:
            return []

    def post(self, number: int) -> None:
        """As if the signal had come; from any thread. Nothing happens once the inbox is closed."""
        with self._lock:
            if not self._closed:
                os.write(self._write, bytes([number]))

    def close(self) -> None:
        """Gives the signals back to whoever had them."""
        if threading.current_thread() is threading.main_thread() and self._former:
            signal.set_wakeup_fd(self._former_wakeup)
            if hasattr(signal, "SIGUSR1"):
                faulthandler.unregister(signal.SIGUSR1)
            for number, handler in self._former.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)
        with self._lock:
            self._closed = True
            os.close(self._read)
            os.close(self._write)


def _noted(_number: int, _frame: FrameType | None) -> None:
    """Exists so that the C handler is called."""
