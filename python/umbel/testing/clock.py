"""Time that tests move."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime, timedelta

from umbel import _native
from umbel.app import clock
from umbel.testing.worker import running_workers


class MovedClock:
    """The clock of this process' queues: of its applications, its workers, and of brokers and result stores in memory
    and in SQLite files. Redis has a clock of its own, and so has `time.time()`.
    """

    def travel(self, delta: float | timedelta) -> None:
        """Lets time pass, seconds (negative: back): what is due by then is run by workers, what has expired is not."""
        seconds = delta.total_seconds() if isinstance(delta, timedelta) else float(delta)
        _move(clock.moved() + seconds)

    def travel_to(self, moment: datetime) -> None:
        """Makes it that moment; a naive one is in local time."""
        self.travel(moment.timestamp() - clock.timestamp())

    def now(self) -> float:
        """The moved time, seconds since the epoch."""
        return clock.timestamp()

    def reset(self) -> None:
        """Back to the present."""
        _move(0.0)


@contextlib.contextmanager
def moved_clock() -> Iterator[MovedClock]:
    """A clock that can be moved while the block runs; it is reset afterwards.

    with moved_clock() as clock, start_worker(app):
        result = remind.apply_async(countdown=3600)
        clock.travel(3600)
        result.get(timeout=10)
    """
    moving = MovedClock()
    try:
        yield moving
    finally:
        moving.reset()


def _move(seconds: float) -> None:
    clock.set_moved(seconds)
    _native.set_clock_offset(seconds)
    for worker in running_workers():
        worker.tick()
