"""Setting up a child process: signals, randomness, title, links."""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import multiprocessing
import os
import random
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from umbel import logs, signals
from umbel._native import ChildLink
from umbel.pools.base import LogOptions, PoolOptions
from umbel.pools.child import LEAVE
from umbel.pools.lifeline import tie_to
from umbel.pools.surroundings import own_streams

if TYPE_CHECKING:
    from umbel.app import Umbel

logger = logging.getLogger("umbel.worker")

#: Exit status of a child that could not import the app (EX_SOFTWARE).
START_FAILED = 70
_DEFAULT = ("SIGTERM", "SIGHUP", "SIGQUIT", "SIGCHLD", "SIGUSR2")


def run_child(app: Umbel, number: int, link_fd: int, lifeline_fd: int, options: PoolOptions) -> int:
    """Runs jobs until the main process says stop; returns the exit status. Call it last in a process of its own."""
    tie_to(lifeline_fd)
    _name_process(number, options.request.hostname)
    _reset_signals()
    _reseed()
    own_streams()
    signals.worker_process_init.send(sender=options.request.hostname)
    link = ChildLink(link_fd, options.slots)
    with contextlib.suppress(*LEAVE):
        importlib.import_module(options.runner).run_jobs(app, link, options)
    signals.worker_process_shutdown.send(sender=options.request.hostname, pid=os.getpid(), exitcode=0)
    return 0


def leave(run: Callable[[], int]) -> None:
    """Ends this process with what `run` returns, past the frames and exit handlers inherited by a fork."""
    status = 1
    try:
        status = run()
    except BaseException:
        logger.critical("Child process failed", exc_info=True)
    finally:
        flush_standard_streams()
        os._exit(status)


def set_up_logs(app: Umbel, options: LogOptions) -> None:
    """Log handlers, and prints as log lines if the app wants that."""
    logs.setup(app.conf, options.level, options.file, options.color)
    if app.conf.worker_redirect_stdouts:
        logs.redirect_stdouts(app.conf.worker_redirect_stdouts_level)


def flush_standard_streams() -> None:
    """Writes out what is buffered; a task may have closed or replaced the streams."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def freeze_heap() -> None:
    """Moves everything alive out of the garbage collector's sight, so that collecting in a child copies no pages."""
    gc.collect()
    gc.freeze()


def _name_process(number: int, hostname: str) -> None:
    multiprocessing.current_process().name = f"ForkPoolWorker-{number}"
    with contextlib.suppress(ImportError):
        importlib.import_module("setproctitle").setproctitle(f"[umbel] {hostname}: child {number}")


def _reset_signals() -> None:
    # Ctrl-C goes to the whole terminal group; the main process decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ignore_terminal()
    for name in _DEFAULT:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)


def ignore_terminal() -> None:
    """In a process group of its own a process would be stopped when it reads from its terminal, or writes to some."""
    signal.signal(signal.SIGTTIN, signal.SIG_IGN)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)


def _reseed() -> None:
    random.seed()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()
