"""What a worker takes while it has nothing to do, and how long it takes to come up."""

from __future__ import annotations

import time

from benches.bench import Bench
from benches.processes import cpu_seconds_alive, pss_bytes
from benches.scenarios.scenario import FIRST, Figures, Measurement, Metric, Scenario

#: Seconds until a worker has come to rest, and over which it is watched then.
SETTLE, WATCH = 2.0, 10.0

FOOTPRINT = Scenario(
    name="footprint",
    label="memory of an idle worker",
    title="an idle worker: memory (PSS) and CPU of all its processes; from its command to its first task",
    metrics=(
        Metric("memory", "memory", "MB", more=False),
        Metric("idle_cpu", "idle CPU", "%", more=False),
        Metric("start_up", "start-up", "s", more=False),
    ),
)


def footprint(bench: Bench) -> Figures:
    """A task waits while the worker comes up; then there are none."""
    bench.clear()
    bench.measure("ready", 60)
    begun = time.monotonic()
    with bench.worker() as pids:
        bench.wait_count(1, 60)
        start_up = time.monotonic() - begun
        time.sleep(min(SETTLE, bench.run.seconds))
        cpu, begun = cpu_seconds_alive(pids), time.monotonic()
        time.sleep(min(WATCH, bench.run.seconds * 5))
        idle = (cpu_seconds_alive(pids) - cpu) / (time.monotonic() - begun)
        memory = pss_bytes(pids)
    return {FOOTPRINT.name: {"memory": memory / 1e6, "idle_cpu": idle * 100, "start_up": start_up}}


IDLE = Measurement(name="footprint", scenarios=(FOOTPRINT,), measure=footprint, rounds=FIRST)
