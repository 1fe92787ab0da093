"""The tasks of the benchmarks for Celery."""

import os
import time

from celery import Celery

app = Celery(
    "bench",
    broker=os.environ.get("BENCH_BROKER") or None,
    backend=os.environ.get("BENCH_BACKEND") or None,
)


@app.task
def noop() -> None:
    """Nothing: what is measured is the queue."""


@app.task
def echo(value: object) -> object:
    """Its argument."""
    return value


@app.task
def now() -> float:
    """The moment it runs, for publish-to-start times."""
    return time.time()


@app.task
def burn(milliseconds: float) -> None:
    """Uses the processor for a while."""
    end = time.process_time() + milliseconds / 1000
    while time.process_time() < end:
        pass
