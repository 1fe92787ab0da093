"""Reads Redis' append-only file to learn who took a message out of its list.

Umbel takes messages by a script, which records them and trims the list in one step; Celery pops them. A pop that the
server carried out and wrote down just before it was killed has nobody who received it: only this file knows.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

POP = "RPOP"
_ID = re.compile(rb'"id": "(p[0-9]+-[0-9]+\.[0-9]+)"')


def commands(file: BinaryIO) -> Iterator[list[bytes]]:
    """The commands of one file, up to its end or one that was cut short. Annotations are skipped."""
    while line := file.readline():
        if not line.startswith(b"*"):
            continue
        found = []
        for _ in range(int(line[1:])):
            size = file.readline()
            if not size.startswith(b"$"):
                return
            found.append(file.read(int(size[1:])))
            file.read(2)
        yield found


class Lists:
    """The server's lists, followed through its commands; remembers how each task's message left last."""

    def __init__(self, wanted: Iterable[str]) -> None:
        self._wanted = set(wanted)
        self._lists: dict[bytes, deque[str]] = defaultdict(deque)
        self.left_by: dict[str, str] = {}

    def apply(self, command: list[bytes]) -> None:
        """Follows one command."""
        match command[0].upper(), *command[1:]:
            case b"LPUSH", key, *values:
                self._lists[key].extendleft(map(task_id, values))
            case b"RPUSH", key, *values:
                self._lists[key].extend(map(task_id, values))
            case b"RPOP", key, *count:
                self._take(key, int(count[0]) if count else 1, POP)
            case b"LTRIM", key, b"0", last if int(last) < 0:
                self._take(key, -int(last) - 1, "LTRIM")
            case ((b"DEL" | b"UNLINK"), *keys):
                for key in keys:
                    self._lists.pop(key, None)

    def _take(self, key: bytes, count: int, how: str) -> None:
        found = self._lists[key]
        for _ in range(min(count, len(found))):
            name = found.pop()
            if name in self._wanted:
                self.left_by[name] = how


def task_id(message: bytes) -> str:
    """Of the task in a message; empty for anything else."""
    found = _ID.search(message)
    return found.group(1).decode() if found else ""


def popped(folder: Path, wanted: Iterable[str]) -> set[str]:
    """Those of `wanted` whose message left its list by a pop, and not by a script of Umbel's, the last time."""
    lists = Lists(wanted)
    for path in sorted(folder.glob("*.incr.aof"), key=lambda path: int(path.name.split(".")[-3])):
        with open(path, "rb") as file:
            for command in commands(file):
                lists.apply(command)
    return {name for name, how in lists.left_by.items() if how == POP}
