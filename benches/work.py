"""What the tasks do, the same for every library; `benches/apps` makes tasks of these functions."""

from __future__ import annotations

import os
import time

from benches.tally import Tally

tally = Tally(os.environ.get("BENCH_TALLY", os.devnull))


def noop() -> None:
    """Nothing: what is measured is the queue."""


def echo(value: object) -> object:
    """Its argument."""
    return value


def now() -> float:
    """The moment it runs, for publish-to-start times."""
    return time.time()


def stamp(value: int) -> list[float]:
    """Counts itself; its argument and the moment it runs."""
    tally.add()
    return [value, time.time()]


def count() -> None:
    """Counts itself; its result is not kept."""
    tally.add()


def burn(value: int) -> None:
    """Uses the processor for so many turns of a loop, then counts itself."""
    turn(value)
    tally.add()


def turn(loops: int) -> int:
    """The loop of `burn`: about a millisecond for what `calibrate` returns."""
    total = 0
    for number in range(loops):
        total += number & 7
    return total


def wait(value: float) -> None:
    """Waits so many seconds, then counts itself."""
    time.sleep(value)
    tally.add()


def step(value: int) -> int:
    """One more than its argument: a member or a step of a workflow."""
    return value + 1


def total(values: list[int]) -> int:
    """The sum: the body of a chord."""
    return sum(values)


def calibrate(seconds: float = 0.001) -> int:
    """Turns of the loop of `burn` that take so long on this machine: the fastest of several measurements."""
    loops = 20_000
    fastest = min(_timed(loops) for _ in range(20))
    return max(1, int(loops * seconds / fastest))


def _timed(loops: int) -> float:
    start = time.perf_counter()
    turn(loops)
    return time.perf_counter() - start
