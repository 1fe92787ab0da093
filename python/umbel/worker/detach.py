"""`--detach`: the worker leaves its terminal and runs in the background."""

from __future__ import annotations

import os
import sys


def detach(logfile: str | None) -> None:
    """Returns in a background process with a session of its own; the calling process ends with status 0.

    What is printed goes to `logfile`, or nowhere. Call it before any thread is started.
    """
    _leave_parent()
    os.setsid()
    # The second fork gives up the session, so that no terminal can be acquired again.
    _leave_parent()
    nowhere = os.open(os.devnull, os.O_RDWR)
    output = os.open(logfile, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644) if logfile else nowhere
    os.dup2(nowhere, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)


def _leave_parent() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    if os.fork():
        os._exit(0)
