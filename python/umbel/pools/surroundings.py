"""What belongs to a child process as a whole and a task may break for the tasks after it.

Put back after each task is what the worker's own promises hang on: no alarm of one task strikes in another, soft time
limits arrive, and the standard streams are no other file's. The rest is left as tasks leave it, as in Celery: working
directory, umask, environment, other signal handlers (`docs/bad-days.md`).
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from umbel._native import ProcessState

#: Where the spare descriptors are, out of the way of programs that close the first few hundred.
_FIRST_SPARE = 500
#: `signal.getsignal` without its conversion to an enum, which takes longer than all the rest.
_getsignal: Callable[[int], Any] = importlib.import_module("_signal").getsignal


class Surroundings:
    """As they are when it is made, in the main thread of a child."""

    def __init__(self) -> None:
        self._state = ProcessState()
        self._on_soft_limit = _getsignal(signal.SIGUSR1)
        self._spares = [(number, spare) for number in (0, 1, 2) if (spare := _spare(number)) is not None]
        own_streams()
        self._streams = (sys.stdout, sys.stderr)

    def restore(self) -> None:
        """Costs about a microsecond while nothing was changed."""
        if not self._state.restore():
            self._reopen_closed()
        if _getsignal(signal.SIGUSR1) is not self._on_soft_limit:
            signal.signal(signal.SIGUSR1, self._on_soft_limit)
        out, err = self._streams
        if sys.stdout is not out or sys.stderr is not err or _is_closed(out) or _is_closed(err):
            own_streams()
            self._streams = (sys.stdout, sys.stderr)

    def _reopen_closed(self) -> None:
        for number, spare in self._spares:
            try:
                fcntl.fcntl(number, fcntl.F_GETFD)
            except OSError:
                _reopen(number, spare)


def _is_closed(stream: Any) -> bool:
    return stream is None or getattr(stream, "closed", False)


def own_streams() -> None:
    """Gives tasks streams that they may close: log handlers keep the real ones, the next task gets new ones."""
    for name in ("stdout", "stderr"):
        stream, real = getattr(sys, name), getattr(sys, f"__{name}__")
        if real is not None and (stream is real or _is_closed(stream)):
            with contextlib.suppress(OSError, ValueError):
                number = fcntl.fcntl(real.fileno(), fcntl.F_DUPFD_CLOEXEC, _FIRST_SPARE)
                own = os.fdopen(number, "w", 1, real.encoding, real.errors)
                setattr(sys, name, own)


def _spare(number: int) -> int | None:
    with contextlib.suppress(OSError):
        return int(fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, _FIRST_SPARE))
    return None


def _reopen(number: int, spare: int) -> None:
    """The stream again, or nothing under its number: the next file that is opened must not get it."""
    try:
        os.dup2(spare, number)
    except OSError:
        nowhere = os.open(os.devnull, os.O_RDWR)
        if nowhere != number:
            os.dup2(nowhere, number)
            os.close(nowhere)
