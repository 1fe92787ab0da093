"""Child processes of the benchmarks: watched, and ended with all their descendants."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from benches import processes
from servers.stack import PATIENCE
from servers.worker_process import wait_until

#: Ignores SIGTERM, has a child in its session and one in a session of its own, and says so.
STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for alone in (False, True):
    if os.fork() == 0:
        if alone:
            os.setsid()
        os.write(1, b"child\\n")
        time.sleep(600)
os.write(1, b"parent\\n")
time.sleep(600)
"""


def start(folder: Path, program: str) -> subprocess.Popen[bytes]:
    return processes.start([sys.executable, "-c", program], folder, os.environ, subprocess.PIPE, subprocess.DEVNULL)


def alive(pid: int) -> bool:
    return pid in dict(processes._stats())


def test_a_family_is_ended_to_the_last_member(tmp_path: Path) -> None:
    process = start(tmp_path, STUBBORN)
    with processes.running(process, within=0.05):
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(3)]
        assert sorted(said) == [b"child\n", b"child\n", b"parent\n"]
        family = processes.members(process.pid)
        assert len(family) == 3
    # Their parent is gone: who adopted them reaps them in its own time.
    wait_until(lambda: not any(alive(pid) for pid in family), PATIENCE, "the end of all three")


def test_memory_and_processor_time_of_a_family(tmp_path: Path) -> None:
    busy = "import os, time\nwhile time.process_time() < 0.05: pass\nos.write(1, b'x')\ntime.sleep(600)"
    process = start(tmp_path, busy)
    with processes.running(process, within=0):
        assert process.stdout is not None
        process.stdout.read(1)
        assert processes.cpu_seconds([process.pid]) >= 0.04
        assert processes.cpu_seconds_alive([process.pid]) >= 0.05
        assert processes.pss_bytes([process.pid]) > 1_000_000
    assert processes.members(process.pid) == set()


def test_waiting_is_bounded() -> None:
    begun = time.monotonic()
    assert processes.wait_for(lambda: time.monotonic() > begun + 0.01, 5, "a moment")
    with pytest.raises(TimeoutError, match=r"not within 0\.01 s: never"):
        processes.wait_for(lambda: False, 0.01, "never")
