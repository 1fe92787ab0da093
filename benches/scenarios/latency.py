"""How long one task takes, on a worker that runs and has nothing else to do."""

from __future__ import annotations

from benches.bench import Bench
from benches.scenarios.scenario import Figures, Measurement, Metric, Scenario

#: Clients at once.
CLIENTS = 32

_TIMES = (
    Metric("p50", "p50", "ms", more=False),
    Metric("p90", "p90", "ms", more=False),
    Metric("p99", "p99", "ms", more=False),
)
ROUND_TRIP = Scenario(
    name="round-trip",
    label="round trip, one at a time",
    title="round trip: from sending a task to its result in hand, one at a time",
    metrics=_TIMES,
)
ROUND_TRIP_MANY = Scenario(
    name="round-trip-32",
    label="round trips, 32 clients",
    title=f"round trip with {CLIENTS} clients at once (threads; coroutines where the library is one of coroutines)",
    metrics=(Metric("per_second", "together", "round trips/s", more=True), *_TIMES),
)
START = Scenario(
    name="start",
    label="start, one at a time",
    title="start: from sending a task to its first line, one at a time",
    metrics=_TIMES,
)


def latency(bench: Bench) -> Figures:
    """All three on one worker."""
    seconds = bench.run.moment
    within = seconds + 90
    bench.clear()
    with bench.worker():
        bench.wait_ready()
        return {
            ROUND_TRIP.name: bench.measure("round_trip", within, seconds=seconds),
            START.name: bench.measure("start_latency", within, seconds=seconds),
            ROUND_TRIP_MANY.name: bench.measure("round_trip_many", within, seconds=seconds, clients=CLIENTS),
        }


LATENCY = Measurement(name="latency", scenarios=(ROUND_TRIP, START, ROUND_TRIP_MANY), measure=latency)
