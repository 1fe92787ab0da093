"""Tasks that sleep side by side on one event loop, and one that watches the loop meanwhile."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from umbel import Umbel

app = Umbel("crowd", broker=os.environ.get("BENCH_BROKER"), backend=os.environ.get("BENCH_BROKER"))

_present = 0
_most = 0
_resident = 0
_ended = 0
#: The watch looks at the loop this often (seconds).
_TICK = 0.001


@app.task(ignore_result=True)
async def nap(seconds: float) -> None:
    """One of the crowd."""
    global _present, _most, _ended
    _present += 1
    _most = max(_most, _present)
    await asyncio.sleep(seconds)
    _present -= 1
    _ended += 1


@app.task
async def watch(count: int) -> dict[str, float]:
    """Waits until so many have slept: how many did at a time, memory (KiB), how long the loop was held up at most (ms),
    how much its thread computed at most between two looks (ms), and how long it took from the first to the last (s).
    """
    global _resident
    worst, busiest, first = 0.0, 0.0, None
    while _ended < count:
        before, computed = time.perf_counter(), time.thread_time()
        await asyncio.sleep(_TICK)
        now = time.perf_counter()
        worst = max(worst, now - before - _TICK)
        busiest = max(busiest, time.thread_time() - computed)
        first = first or (now if _present else None)
        if int(now * 10) != int(before * 10):
            _resident = max(_resident, _resident_kib())
    took = time.perf_counter() - (first or 0.0)
    return {"most": _most, "kib": _resident, "worst_ms": worst * 1000, "busy_ms": busiest * 1000, "seconds": took}


def _resident_kib() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024
