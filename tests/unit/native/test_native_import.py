"""Importing the package is quick and starts nothing."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import os, sys, time
started = time.process_time()
__import__(sys.argv[1])
print(len(os.listdir("/proc/self/task")), time.process_time() - started)
"""


def import_in_new_process(module: str) -> float:
    """Seconds of processor time for one import."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, module], capture_output=True, text=True, check=True)
    threads, seconds = done.stdout.split()
    assert threads == "1"
    return float(seconds)


def test_importing_starts_no_thread_and_is_quick() -> None:
    # 150 ms on a machine that does nothing else; on a busy one asyncio, which takes 40 ms there, is the measure.
    yardstick, umbel = (min(import_in_new_process(module) for _ in range(4)) for module in ("asyncio", "umbel"))
    assert umbel < max(0.15, 4 * yardstick)
