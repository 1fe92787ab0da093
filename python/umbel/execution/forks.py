"""Processes that a task forks and that come back out of it.

Nobody waits for their outcome: the process that took the job reports it. A fork that went on would report it a second
time, send the signals of the task again, and run the worker's own way out, so it ends where the task ends.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import NoReturn

from umbel.execution.report import logger

__all__ = ["end_fork", "fork_count"]

_forks = 0


def _forked() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_forked)


def fork_count() -> int:
    """How often this process and its ancestors were forked: another number after a task than before it tells that
    this is not the process that began the task."""
    return _forks


def end_fork(name: str, task_id: str, error: BaseException | None) -> NoReturn:
    """Ends this process: with the status `sys.exit` was given, 1 after another exception, else 0."""
    status = 0
    if isinstance(error, SystemExit):
        status = _status(error.code)
    elif error is not None:
        status = 1
        logger.error("Process %d, forked by task %s[%s], raised and ends", os.getpid(), name, task_id, exc_info=error)
    else:
        logger.warning(
            "Process %d, forked by task %s[%s], came back from the task and ends here: end it with os._exit()",
            os.getpid(), name, task_id,
        )  # fmt: skip
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(status)


def _status(code: object) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    with contextlib.suppress(Exception):
        sys.stderr.write(f"{code}\n")
    return 1
