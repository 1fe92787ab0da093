"""Child processes: started in sessions of their own, watched through /proc, and ended to the last one by their pids."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

_TICKS = os.sysconf("SC_CLK_TCK")


def start(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    output: IO[Any] | int,
    errors: IO[Any] | int,
) -> subprocess.Popen[bytes]:
    """Starts a command in `folder`, as the leader of a session. Raises OSError if there is no such program."""
    return subprocess.Popen(
        command, cwd=folder, env=dict(environment), stdin=subprocess.DEVNULL, stdout=output, stderr=errors,
        start_new_session=True,
    )  # fmt: skip


@contextlib.contextmanager
def running(process: subprocess.Popen[bytes], within: float = 5.0) -> Iterator[subprocess.Popen[bytes]]:
    """Ends the process and all its descendants afterwards."""
    try:
        yield process
    finally:
        stop(process, within)


def stop(process: subprocess.Popen[bytes], within: float) -> None:
    """Asks the process to end (SIGTERM); what is left of its family `within` seconds later is killed."""
    family = members(process.pid)
    born = _births()
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(within)
    # A pid may be another process's by now: then it was born later.
    same = {pid for pid, birth in _births().items() if born.get(pid) == birth}
    for pid in (family & same) | members(process.pid):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def members(leader: int) -> set[int]:
    """Pids of a process's session, and of all their descendants."""
    parents: dict[int, int] = {}
    found: set[int] = set()
    for pid, fields in _stats():
        parents[pid] = int(fields[1])
        if int(fields[3]) == leader:
            found.add(pid)
    grown = True
    while grown:
        further = {pid for pid, parent in parents.items() if parent in found} - found
        grown = bool(further)
        found |= further
    return found


def _births() -> dict[int, str]:
    """Start time of every process."""
    return {pid: fields[19] for pid, fields in _stats()}


def cpu_seconds(leaders: Sequence[int]) -> float:
    """Processor time that the families of these processes have used, children that ended included."""
    families = set().union(*(members(leader) for leader in leaders))
    return sum(_cpu(fields) for pid, fields in _stats() if pid in families)


def cpu_seconds_alive(leaders: Sequence[int]) -> float:
    """The same to the nanosecond rather than to the clock tick, without what has ended: for processes at rest."""
    families = set().union(*(members(leader) for leader in leaders))
    total = 0
    for pid in families:
        for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                total += int(path.read_text().split()[0])
    return total / 1e9


def thread_seconds(pids: Iterable[int]) -> dict[tuple[int, int], tuple[str, float]]:
    """Of each thread of these processes, by process and thread id: its name, and the processor time it has used."""
    found = {}
    for pid in pids:
        for path in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                used = int((path / "schedstat").read_text().split()[0]) / 1e9
                found[pid, int(path.name)] = ((path / "comm").read_text().strip(), used)
    return found


def _cpu(fields: list[str]) -> float:
    """utime, stime, and those of children that were waited for."""
    return sum(int(field) for field in fields[11:15]) / _TICKS


def pss_bytes(leaders: Sequence[int]) -> int:
    """Memory of these families, pages that processes share counted once (the kernel's proportional set size)."""
    families = set().union(*(members(leader) for leader in leaders))
    return sum(_pss(pid) for pid in families)


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def _stats() -> Iterator[tuple[int, list[str]]]:
    """Pid and fields of /proc/*/stat from the third (state) on, zombies left out."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if fields[0] not in ("Z", "X"):
                yield int(entry.name), fields


def wait_for(condition: Any, seconds: float, what: str) -> Any:
    """The first true value of `condition()`. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(0.005)
    return value
