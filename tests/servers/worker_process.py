"""A real worker in processes of its own, as a user starts it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

TESTS = Path(__file__).parent.parent
PYTHON = TESTS.parent / "python"
READY = r"\S+@\S+ ready\."


def wait_until(condition: Callable[[], T], seconds: float, what: str) -> T:
    """The first true value of `condition`; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.01)


def environment(**extra: str) -> dict[str, str]:
    """Of a process that can import umbel and the test apps."""
    path = os.pathsep.join([str(PYTHON), str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **extra}


def urls(broker: str, results: str | None = None) -> dict[str, str]:
    """Environment that names broker and result store."""
    return {"UMBEL_BROKER_URL": broker, "UMBEL_RESULT_BACKEND": results or broker}


#: Environment in which what a killed worker held is back in 3 s rather than 8.
SHORT_LEASE = {"CELERY_CONFIG_MODULE": "apps.short_lease"}


class WorkerProcess:
    """Started at once; `wait_ready` waits for it. Its log is a file."""

    def __init__(
        self,
        folder: Path,
        arguments: Iterable[str],
        env: dict[str, str],
        app: str = "apps.basic",
        command: Iterable[str] = (sys.executable, "-W", "error", "-m", "umbel"),
        name: str = "worker",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log_path = folder / f"{name}-{time.monotonic_ns()}.log"
        self.name = name
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [*command, "-A", app, "worker", *arguments], cwd=folder, env=environment(**env),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self.pid = self.process.pid

    def log(self) -> str:
        """All output so far."""
        return self.log_path.read_text(errors="replace")

    def wait_for(self, pattern: str, seconds: float = 20.0) -> re.Match[str]:
        """The first match in the log."""

        def found() -> re.Match[str] | None:
            match = re.search(pattern, self.log())
            if match is None and self.process.poll() is not None:
                match = re.search(pattern, self.log())
                if match is None:
                    raise AssertionError(f"worker ended ({self.process.returncode}) before {pattern!r}:\n{self.log()}")
            return match

        try:
            return wait_until(found, seconds, f"{pattern!r} in the log")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()}") from None

    def wait_ready(self, seconds: float = 30.0) -> WorkerProcess:
        """Until it has reached the broker."""
        self.wait_for(READY, seconds)
        return self

    def send_signal(self, number: int) -> None:
        """Sends a signal to the main process."""
        os.kill(self.pid, number)

    def stop(self, number: int = signal.SIGTERM, seconds: float = 40.0) -> int:
        """Ends it and returns the exit status."""
        if self.process.poll() is None:
            self.send_signal(number)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"worker did not stop within {seconds:g} s:\n{self.log()}") from None

    def zygote(self) -> int:
        """Pid of the fork server."""
        return wait_until(lambda: next(iter(children_of(self.pid)), 0), 10, "a fork server")

    def task_children(self, count: int = 1) -> list[int]:
        """Pids of the children that run tasks, once there are `count`."""
        return wait_until(
            lambda: found if len(found := children_of(self.zygote())) >= count else [], 10, f"{count} children"
        )


StartWorker = Callable[..., WorkerProcess]


def children_of(pid: int) -> list[int]:
    """Pids of a process's children, oldest first."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return sorted(int(child) for task in tasks for child in (task / "children").read_text().split())
    except (FileNotFoundError, ProcessLookupError):
        return []


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False
