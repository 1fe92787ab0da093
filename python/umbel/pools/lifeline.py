"""Ends a child at once when the worker's main process is gone.

Its unfinished messages are handed to another worker within seconds: a child that went on would run them a second
time. The main process holds the only writing end of a pipe; the kernel closes it however that process ends. Where the
kernel can, it also sends the signal, so that a task stuck in foreign code with the GIL held ends as well.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import signal
import sys
import threading

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def open_lifeline() -> tuple[int, int]:
    """The pipe: (end for children, end the main process keeps and never writes to). Neither survives an exec."""
    return os.pipe()


def tie_to(descriptor: int) -> None:
    """Kills this process when the writing end of the pipe is gone, or already is."""
    if not _signal_at_end(descriptor):
        threading.Thread(target=_kill_at_end, args=(descriptor,), name="umbel-lifeline", daemon=True).start()
        return
    if select.select([descriptor], [], [], 0)[0]:
        os.kill(os.getpid(), signal.SIGKILL)


def _signal_at_end(descriptor: int) -> bool:
    set_signal = getattr(fcntl, "F_SETSIG", None)
    if set_signal is None:
        return False
    try:
        # Owner and signal belong to the open file, which a fork shares: each child opens its own.
        own = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    fcntl.fcntl(own, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(own, set_signal, signal.SIGKILL)
    fcntl.fcntl(own, fcntl.F_SETFL, fcntl.fcntl(own, fcntl.F_GETFL) | os.O_ASYNC)
    return True


def die_with_parent(signum: int) -> None:
    """Asks the kernel for `signum` when the thread that started this process ends (Linux; elsewhere nothing)."""
    _process_control(_PR_SET_PDEATHSIG, signum)


def adopt_orphans() -> None:
    """Makes this process the one that reaps children of a fork server that died (Linux; elsewhere nothing)."""
    _process_control(_PR_SET_CHILD_SUBREAPER, 1)


def _process_control(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _kill_at_end(descriptor: int) -> None:
    os.read(descriptor, 1)
    os.kill(os.getpid(), signal.SIGKILL)
