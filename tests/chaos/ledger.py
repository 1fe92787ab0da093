"""The ledger: a file outside the broker to which every process appends what it did, a line per event.

Each line is one write to a file opened for appending, so lines of many processes do not mix, and what a process wrote
before it was killed stays. Times are the machine's monotonic clock in nanoseconds, the same for all processes.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ATTEMPT = "attempt"  # a producer is about to publish; detail: what kind of task, and when due
CONFIRMED = "confirmed"  # its publish returned
REFUSED = "refused"  # its publish raised; detail: what
DELIVERED = "delivered"  # a message was on its way to a Celery worker
START = "start"  # a task's first line
FINISH = "finish"  # a task's last line
RETRY = "retry"  # its last line when it asks for another attempt; detail: when due
RESULT = "result"  # a waiter has it; detail: `OK`, or what is wrong

OK = "ok"
EARLY = "early"


class Entry(NamedTuple):
    """One line. `attempt` counts a task's retries; `by` is the member of the fleet, `w1-3` for the third w1."""

    at: int
    event: str
    id: str
    attempt: int
    pid: int
    by: str
    detail: str

    def line(self) -> bytes:
        """As it stands in the file."""
        return " ".join(map(str, self)).encode() + b"\n"

    @property
    def kind(self) -> str:
        """Of an attempt: the kind of task."""
        return self.detail.partition("@")[0]

    @property
    def due(self) -> int:
        """Of an attempt or a retry: the moment before which the task must not run; 0 for at once."""
        return int(self.detail.partition("@")[2] or 0)


def with_due(kind: str, countdown: float | None) -> str:
    """The detail of an attempt or retry that is due in `countdown` seconds."""
    return kind if countdown is None else f"{kind}@{time.monotonic_ns() + round(countdown * 1e9)}"


def parse(line: str) -> Entry:
    """Reads a line. Raises ValueError for anything else."""
    at, event, task_id, attempt, pid, by, detail = line.rstrip("\n").split(" ", 6)
    return Entry(int(at), sys.intern(event), task_id, int(attempt), int(pid), sys.intern(by), sys.intern(detail))


class Ledger:
    """For appending. Safe in threads and forked children: the descriptor's offset is the file's end."""

    def __init__(self, path: str | Path, by: str = "") -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._by = by

    def note(self, event: str, ids: Iterable[str], attempt: int = 0, detail: str = "", by: str = "") -> None:
        """One event of one or many tasks, in one write."""
        now, pid = time.monotonic_ns(), os.getpid()
        entries = (Entry(now, event, task_id, attempt, pid, by or self._by, detail) for task_id in ids)
        self.append(entries)

    def append(self, entries: Iterable[Entry]) -> None:
        """Entries of the caller's making, in one write."""
        os.write(self._descriptor, b"".join(entry.line() for entry in entries))


class Tail:
    """Follows a ledger while it grows."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "rb")  # noqa: SIM115, closed by `close`
        self._rest = b""

    def entries(self) -> Iterator[Entry]:
        """What is new."""
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        return (parse(line.decode()) for line in lines)

    def close(self) -> None:
        """Ends it."""
        self._file.close()


def read(path: Path) -> Iterator[Entry]:
    """All entries of a finished ledger."""
    with open(path, encoding="utf-8") as lines:
        yield from map(parse, lines)
