"""A child does not outlive the main process, even when it is stuck or stopped listening."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

CHILD = """
import os, sys, time
from umbel.pools.lifeline import tie_to
tie_to(int(sys.argv[1]))
print("tied", flush=True)
while True:
    time.sleep(60)
"""


def start(read: int, code: str = CHILD) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", code, str(read)], pass_fds=(read,), stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"tied\n"
    process.stdout.close()
    return process


def test_every_child_is_killed_when_the_writing_end_closes() -> None:
    read, write = os.pipe()
    children = [start(read) for _ in range(3)]
    os.close(write)
    assert [child.wait(10) for child in children] == [-signal.SIGKILL] * 3
    os.close(read)


def test_a_child_that_comes_too_late_ends_at_once() -> None:
    read, write = os.pipe()
    os.close(write)
    process = subprocess.Popen([sys.executable, "-c", CHILD, str(read)], pass_fds=(read,), stdout=subprocess.DEVNULL)
    assert process.wait(10) == -signal.SIGKILL
    os.close(read)


def test_without_the_kernel_s_help_a_thread_does_it() -> None:
    code = "import umbel.pools.lifeline as l\nl._signal_at_end = lambda _: False\n" + CHILD
    read, write = os.pipe()
    child = start(read, code)
    os.close(write)
    assert child.wait(10) == -signal.SIGKILL
    os.close(read)
