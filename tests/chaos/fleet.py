"""The processes of a run, each started again when it ends.

A member is a role in the fleet, `w1`; each process that fills it has a number, `w1-3`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

from servers.celery_command import CELERY, QUIET
from servers.worker_process import WorkerProcess, alive, children_of, environment

from chaos import schedule
from chaos.tasks import LEDGER, RESULT_EXPIRES, URL, VISIBILITY

#: Of a worker that is told to end (seconds).
_STOP_WITHIN = 60.0


class Member(ABC):
    """A role, filled by one process at a time."""

    def __init__(self, name: str, folder: Path, env: dict[str, str]) -> None:
        self.name = name
        self.number = 0
        self.folder = folder
        self.env = env
        #: Processes that ended without being killed, with their exit status.
        self.failures: list[str] = []
        self.killed = False
        self.start()

    @property
    def filled_by(self) -> str:
        """Name of the present process."""
        return f"{self.name}-{self.number}"

    def start(self) -> None:
        """Fills the role anew."""
        self.number += 1
        self.killed = False
        self.process = self._start()

    @abstractmethod
    def _start(self) -> subprocess.Popen[bytes]: ...

    @property
    def running(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def kill(self) -> None:
        """Kills it; `tend` fills the role again."""
        self.killed = True
        self.process.kill()

    def tend(self) -> bool:
        """Starts it again if it has ended; says whether it had."""
        status = self.process.poll()
        if status is None:
            return False
        if not self.killed:
            self._ended(status)
        self.start()
        return True

    def _ended(self, status: int) -> None:
        """It ended without being killed."""
        self.failures.append(f"{self.filled_by} ended by itself with status {status}")

    def stop(self) -> None:
        """Ends it for good, in order."""
        self.process.terminate()
        try:
            status = self.process.wait(_STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self.failures.append(f"{self.filled_by} did not stop within {_STOP_WITHIN:g} s")
            self.process.kill()
            status = self.process.wait()
        else:
            if status not in (0, -signal.SIGTERM):
                self.failures.append(f"{self.filled_by} stopped with status {status}")


class Worker(Member):
    """An Umbel worker."""

    def __init__(self, name: str, folder: Path, env: dict[str, str], *arguments: str) -> None:
        self._arguments = arguments
        super().__init__(name, folder, env)

    def _start(self) -> subprocess.Popen[bytes]:
        arguments = ("-n", f"{self.filled_by}@chaos", "-l", "WARNING", *self._arguments)
        return WorkerProcess(self.folder, arguments, self.env, "chaos.umbel_app", name=self.filled_by).process

    def zygote(self) -> int:
        """Pid of the fork server, 0 if there is none at the moment."""
        # A child that outlived its fork server is the worker's child for a while, and has no children of its own.
        return next((pid for pid in children_of(self.process.pid) if children_of(pid)), 0)

    def children(self) -> list[int]:
        """Pids of the processes that run tasks."""
        zygote = self.zygote()
        return children_of(zygote) if zygote else []

    def family(self) -> list[int]:
        """Every process but the main one."""
        return descendants(self.process.pid)


class CeleryWorker(Worker):
    """A Celery worker. Its children do not notice when it is killed, so they are killed with it."""

    def _start(self) -> subprocess.Popen[bytes]:
        arguments = ("-n", f"{self.filled_by}@chaos", *QUIET[:-1], "WARNING", *self._arguments)
        env = {**self.env, "PYTHONWARNINGS": "ignore"}
        return WorkerProcess(self.folder, arguments, env, "chaos.celery_app", CELERY, self.filled_by).process

    def children(self) -> list[int]:
        return children_of(self.process.pid)

    def __init__(self, name: str, folder: Path, env: dict[str, str], *arguments: str) -> None:
        #: Processes that ended by themselves, which it does when its connection breaks, and when (nanoseconds).
        self.endings: list[tuple[str, int]] = []
        super().__init__(name, folder, env, *arguments)

    def _ended(self, status: int) -> None:
        self.endings.append((self.filled_by, time.monotonic_ns()))

    def kill(self) -> None:
        family = self.family()
        super().kill()
        for pid in family:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)


class Client(Member):
    """A producer or a waiter: it follows its standard input."""

    def __init__(self, name: str, folder: Path, env: dict[str, str], program: str, *arguments: str) -> None:
        self._command = (sys.executable, "-m", program)
        self._arguments = arguments
        super().__init__(name, folder, env)

    def _start(self) -> subprocess.Popen[bytes]:
        with open(self.folder / f"{self.name}.log", "ab") as log:
            return subprocess.Popen(
                [*self._command, self.filled_by, str(self.folder), *self._arguments],
                env=environment(**self.env), stdin=subprocess.PIPE, stdout=log, stderr=log,
            )  # fmt: skip

    def tell(self, text: str) -> None:
        """Writes to its input; what a dead process does not read is its successor's to be told again."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(text.encode())
            self.process.stdin.flush()

    def tend(self) -> bool:
        before = self.process
        ended = super().tend()
        if ended:
            hang_up(before)
        return ended

    def stop(self) -> None:
        hang_up(self.process)
        try:
            status = self.process.wait(_STOP_WITHIN)
        except subprocess.TimeoutExpired:
            super().stop()
        else:
            if status != 0 and not self.killed:
                self.failures.append(f"{self.filled_by} ended with status {status}")


def hang_up(process: subprocess.Popen[bytes]) -> None:
    """Ends a process's input."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()


def descendants(pid: int) -> list[int]:
    """Pids of a process's children and theirs."""
    found = children_of(pid)
    return [*found, *(pid for child in found for pid in descendants(child))]


class Fleet:
    """All members.

    Args:
        url: Of the broker, by name of a member.
        rate: Tasks a second that the producers publish together.
        visibility: With a Celery worker: the visibility timeout (seconds).
        result_expires: Life of results, if another than the default (seconds).
    """

    def __init__(
        self,
        folder: Path,
        url: Callable[[str], str],
        seed: int,
        rate: float,
        visibility: float | None = None,
        result_expires: float | None = None,
    ) -> None:
        def env(name: str) -> dict[str, str]:
            extra = {} if visibility is None else {VISIBILITY: str(visibility)}
            if result_expires is not None:
                extra[RESULT_EXPIRES] = str(result_expires)
            return {LEDGER: str(folder / "ledger"), URL: url(name), **extra}

        early = "0" if visibility is None else "1"
        half = str(rate / 2)
        self.workers: dict[str, Worker] = {
            name: Worker(name, folder, env(name), "-c", "2") for name in schedule.PREFORK
        }
        self.workers |= {name: Worker(name, folder, env(name), "-c", "4", "-P", "threads") for name in schedule.THREADS}
        if visibility is not None:
            self.workers[schedule.CELERY] = CeleryWorker(schedule.CELERY, folder, env(schedule.CELERY), "-c", "2")
        self.producers = {
            name: Client(name, folder, env(name), "chaos.producer", str(seed), half, at_once, early)
            for name, at_once in zip(schedule.PRODUCERS, ("1", "20"), strict=True)
        }
        self.waiters = {name: Client(name, folder, env(name), "chaos.waiter") for name in schedule.WAITERS}

    @property
    def members(self) -> dict[str, Member]:
        """By name."""
        return {**self.workers, **self.producers, **self.waiters}

    def endings(self) -> list[tuple[str, int]]:
        """Celery workers that ended by themselves, and when (nanoseconds)."""
        return [
            ending for worker in self.workers.values() if isinstance(worker, CeleryWorker) for ending in worker.endings
        ]

    def failures(self) -> list[str]:
        """Processes that ended otherwise than they were made to."""
        return [failure for member in self.members.values() for failure in member.failures]


def links(with_celery: bool) -> Sequence[str]:
    """Names of all members, each of which has a link to the broker."""
    celery = (schedule.CELERY,) if with_celery else ()
    return (*schedule.WORKERS, *schedule.PRODUCERS, *schedule.WAITERS, *celery)
