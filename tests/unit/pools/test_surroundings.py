"""What a child puts back after each task."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PRELUDE = """
import os, signal, sys
from umbel.pools.surroundings import Surroundings

heard = []
signal.signal(signal.SIGUSR1, lambda *_: heard.append("soft limit"))
{before}
surroundings = Surroundings()
{task}
surroundings.restore()
{after}
print("as it was")
"""


def run(task: str, after: str, before: str = "") -> str:
    """Output of a process of its own, whose streams and signals may be broken."""
    source = _PRELUDE.format(task=task, after=after, before=before)
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "task",
    [
        "pass",
        "sys.stdout.close(); sys.stderr.close()",
        "sys.stdout = sys.stderr = None",
        "os.close(0); os.close(1); os.close(2)",
        "os.closerange(0, 400)",
        "signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))",
        "signal.signal(signal.SIGUSR1, signal.SIG_IGN)",
        "signal.signal(signal.SIGUSR1, print)",
        "signal.setitimer(signal.ITIMER_REAL, 0.01)",
    ],
)
def test_streams_and_signals_are_as_they_were(task: str) -> None:
    after = """
os.kill(os.getpid(), signal.SIGUSR1)
assert heard == ["soft limit"]
assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
with open(os.devnull) as file:
    assert file.fileno() > 2
os.write(2, b"")
"""
    assert run(task, after) == "as it was\n"


def test_without_its_spares_a_stream_is_nothing_rather_than_another_file() -> None:
    after = """
with open(os.devnull) as file:
    assert file.fileno() > 2
os.write(1, b"to nobody")
os._exit(0)
"""
    assert run("os.closerange(0, 2000)", after) == ""


def test_a_timer_of_the_application_goes_on() -> None:
    before = "signal.signal(signal.SIGALRM, lambda *_: None); signal.setitimer(signal.ITIMER_REAL, 1000, 1000)"
    assert run("pass", "assert signal.getitimer(signal.ITIMER_REAL)[1] == 1000", before) == "as it was\n"
