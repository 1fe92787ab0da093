"""Tasks that break what they can reach: streams, descriptors, signals, memory, their process."""

from __future__ import annotations

import ctypes
import os
import pickle
import resource
import signal
import socket
import stat
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any, NoReturn

from apps.basic import note, wait_for_file

from umbel import Umbel
from umbel.exceptions import SoftTimeLimitExceeded

#: Larger results are failures.
MAX_BYTES = 200_000
#: A task that kills its process so often is a dead letter.
MAX_DELIVERIES = 2


class HoldsALock(Exception):
    """Cannot be pickled, and JSON cannot hold its argument."""

    def __init__(self) -> None:
        super().__init__(threading.Lock())


class Unprintable(Exception):
    """Exits when it is printed."""

    def __repr__(self) -> str:
        raise SystemExit(1)

    __str__ = __repr__


def build(**settings: Any) -> Umbel:
    """An app with these tasks."""
    app = Umbel("unruly", **{"worker_max_message_bytes": MAX_BYTES, "task_max_deliveries": MAX_DELIVERIES, **settings})
    define_exceptions(app)
    define_process(app)
    define_forks(app)
    define_limits(app)
    return app


def define_exceptions(app: Umbel) -> None:
    """What is returned and raised."""

    @app.task(name="unruly.fine")
    def fine() -> int:
        return os.getpid()

    @app.task(name="unruly.returns")
    def returns(text: str, times: int = 1) -> str:
        return text * times

    @app.task(name="unruly.surrogate")
    def surrogate(how: str) -> str:
        text = "\udc80 alone"
        if how == "raise":
            raise ValueError(text)
        return text

    @app.task(name="unruly.raises")
    def raises(kind: str) -> NoReturn:
        kinds = {
            "lock": HoldsALock,
            "unprintable": Unprintable,
            "pickling": pickle.PicklingError,
            "group": lambda: BaseException("not an Exception"),
            "long": lambda: ValueError("x" * 3 * MAX_BYTES),
        }
        raise kinds[kind]()


def define_process(app: Umbel) -> None:
    """What belongs to the process."""

    @app.task(name="unruly.exits")
    def exits(status: int) -> NoReturn:
        os._exit(status)

    @app.task(name="unruly.segfaults")
    def segfaults() -> None:
        ctypes.string_at(0)

    @app.task(name="unruly.closes_streams")
    def closes_streams() -> int:
        for number in (0, 1, 2):
            os.close(number)
        return os.getpid()

    @app.task(name="unruly.opens")
    def opens() -> int:
        """The number the next file gets."""
        with open(os.devnull) as file:
            print("on stdout")
            return file.fileno()

    @app.task(name="unruly.loses_link")
    def loses_link(how: str, path: str) -> str:
        """Closes the socket to the main process, or puts a file of its own there."""
        with open(path, "w") as file:
            for number in sockets():
                if how == "close":
                    os.close(number)
                else:
                    os.dup2(file.fileno(), number)
        return "nobody hears this"

    @app.task(name="unruly.closes_all")
    def closes_all(path: str) -> str:
        """As programs do that become daemons; then opens files, which get the numbers that are free."""
        os.closerange(3, 400)
        files = [open(path, "a") for _ in range(20)]  # noqa: SIM115, closed together
        for file in files:
            file.close()
        return "still heard"

    @app.task(name="unruly.starts_thread")
    def starts_thread(until: str) -> int:
        threading.Thread(target=wait_for_file, args=(until,), daemon=False).start()
        return os.getpid()

    @app.task(name="unruly.leaks")
    def leaks(what: str, seconds: float) -> int:
        """Leaves something behind for the next task."""
        if what == "alarm":
            signal.setitimer(signal.ITIMER_REAL, seconds)
        elif what == "handler":
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        elif what == "mask":
            signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
        elif what == "folder":
            os.chdir("/")
            os.umask(0o077)
        return os.getpid()

    @app.task(name="unruly.looks")
    def looks() -> list[Any]:
        """What the process has of its own."""
        mask = os.umask(0)
        os.umask(mask)
        return [str(Path.cwd()), mask]

    @app.task(name="unruly.eats")
    def eats(mebibytes: int) -> int:
        """Eats memory with a limit on what there is."""
        former = resource.getrlimit(resource.RLIMIT_AS)
        now = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (now + (mebibytes << 20), former[1]))
        held = []
        try:
            while True:
                held.append(bytearray(1 << 20))
        finally:
            resource.setrlimit(resource.RLIMIT_AS, former)


def sockets() -> list[int]:
    """Descriptors of stream sockets this process has."""
    found = []
    for entry in list(Path("/proc/self/fd").iterdir()):
        number = int(entry.name)
        try:
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                continue
            with socket.socket(fileno=os.dup(number)) as one:
                if one.type == socket.SOCK_STREAM:
                    found.append(number)
        except OSError:
            continue
    return found


def fork() -> int:
    """`os.fork`, without Python's warning of threads: that tasks do it nevertheless is the point."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def define_forks(app: Umbel) -> None:
    """Processes of their own."""

    @app.task(name="unruly.forks")
    def forks(ending: str, path: str) -> list[int]:
        """Forks; the fork ends as told, and both say where they are."""
        pid = fork()
        if pid:
            return [os.getpid(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])]
        note(path, str(os.getpid()))
        if ending == "exit":
            sys.exit(3)
        if ending == "raise":
            raise ValueError("in the fork")
        return [0, 0]

    @app.task(name="unruly.leaves_orphan")
    def leaves_orphan(path: str, until: str) -> None:
        """Starts a process that outlives its parent, as daemons do."""
        pid = fork()
        if pid:
            os.waitpid(pid, 0)
            return
        if fork() == 0:
            os.setsid()
            note(path, str(os.getpid()))
            wait_for_file(until)
        os._exit(0)


def define_limits(app: Umbel) -> None:
    """Tasks that do not want to end."""

    def stubborn(seconds: float) -> NoReturn:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                time.sleep(0.05)
            except SoftTimeLimitExceeded:
                continue
        raise AssertionError("it should have been killed")

    @app.task(name="unruly.ignores_limit")
    def ignores_limit() -> NoReturn:
        stubborn(60)

    @app.task(name="unruly.ignores_signals")
    def ignores_signals(how: str, path: str) -> NoReturn:
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            if how == "block":
                signal.pthread_sigmask(signal.SIG_BLOCK, [number])
            else:
                signal.signal(number, signal.SIG_IGN)
        note(path, str(os.getpid()))
        stubborn(60)

    @app.task(name="unruly.sleeps")
    def sleeps(seconds: float) -> str:
        try:
            time.sleep(seconds)
        except SoftTimeLimitExceeded:
            return "interrupted"
        return "undisturbed"


app = build()
