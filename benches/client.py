"""The measuring side of one scenario, in a process of its own: `python -m benches.client APPLICATION SCENARIO N`.

Prints one JSON object. Bulk publishing uses what each library offers for it.
"""

import importlib
import json
import sys
import time
from collections.abc import Callable
from statistics import quantiles
from typing import Any

TIMEOUT = 120.0


def publish_one(app: Any, count: int) -> dict[str, float]:
    """Messages per second of one thread that publishes and waits for each confirmation."""
    app.noop.apply_async()
    start = time.perf_counter()
    for _ in range(count):
        app.noop.apply_async()
    return {"per_second": count / (time.perf_counter() - start)}


def drain(app: Any, count: int) -> dict[str, float]:
    """Tasks per second of a worker that finds `count` waiting, from its first to its last result.

    The first task's result is awaited before the clock starts, so that start-up does not count; the queue was filled
    while no worker ran.
    """
    results = [app.now.apply_async() for _ in range(count)]
    print("filled", flush=True)
    started = results[0].get(timeout=TIMEOUT)
    ended = max(result.get(timeout=TIMEOUT) for result in results[-50:])
    return {"per_second": count / (ended - started)}


def round_trip(app: Any, count: int) -> dict[str, float]:
    """Milliseconds from `apply_async` to the result in hand, one task at a time."""
    app.echo.apply_async((0,)).get(timeout=TIMEOUT)
    taken = []
    for number in range(count):
        start = time.perf_counter()
        app.echo.apply_async((number,)).get(timeout=TIMEOUT)
        taken.append((time.perf_counter() - start) * 1000)
    return percentiles(taken)


def start_latency(app: Any, count: int) -> dict[str, float]:
    """Milliseconds from `apply_async` to the task's first line, one task at a time."""
    app.now.apply_async().get(timeout=TIMEOUT)
    taken = []
    for _ in range(count):
        start = time.time()
        taken.append((app.now.apply_async().get(timeout=TIMEOUT) - start) * 1000)
    return percentiles(taken)


def percentiles(values: list[float]) -> dict[str, float]:
    """Median and tail."""
    cuts = quantiles(values, n=100)
    return {"p50": cuts[49], "p90": cuts[89], "p99": cuts[98]}


SCENARIOS: dict[str, Callable[[Any, int], dict[str, float]]] = {
    "publish": publish_one,
    "drain": drain,
    "round-trip": round_trip,
    "start": start_latency,
}


def main() -> None:
    """Runs one scenario."""
    application, scenario, count = sys.argv[1:4]
    figures = SCENARIOS[scenario](importlib.import_module(application), int(count))
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
