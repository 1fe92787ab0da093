"""Draining a queue that was filled while no worker ran.

How many tasks that takes depends on the peer: a drain that was over too soon is the pilot of the next.
"""

from __future__ import annotations

from benches.bench import Bench
from benches.processes import cpu_seconds
from benches.redis_server import Usage
from benches.scenarios.scenario import Figures, Measurement, Metric, Scenario

#: Tasks of the first pilot.
PILOT = 100
#: How long filling, draining and checking may take (seconds for each).
PATIENCE = 90.0


def drain(
    bench: Bench,
    task: str,
    value: float | None = None,
    waiting: bool = False,
    through: int | None = None,
    key: str = "",
) -> dict[str, float]:
    """Fills the queue, starts the worker, and returns the figures of a drain that lasted long enough.

    Args:
        task: As `benches.client.drain` says; likewise `value`.
        waiting: As `Bench.worker` says; likewise `through`.
        key: Name under which the number of tasks is remembered, if another than the task's.
    """
    key = f"{bench.peer.name}/{key or task}"
    counts, wanted, most = bench.run.counts, bench.run.seconds, bench.run.most
    count = min(counts.setdefault(key, PILOT), most)
    while True:
        figures = _drain(bench, count, task, value, waiting, through)
        if figures["seconds"] >= 0.7 * wanted or count >= most:
            return figures
        # The rate of a pilot that lasted a moment says little: grow by 40 times at most.
        fitting = int(figures["per_second"] * wanted * 1.1)
        count = counts[key] = min(most, max(min(fitting, count * 40), count * 2))


def _drain(
    bench: Bench, count: int, task: str, value: float | None, waiting: bool, through: int | None
) -> dict[str, float]:
    bench.clear()
    environment = {"BENCH_RESULTS": "no"} if task == "count" else {}
    parameters = {"count": count, "task": task, "value": value, "patience": PATIENCE}
    with bench.client("drain", environment, **parameters) as client:
        client.wait_event("filled", PATIENCE)
        with bench.worker(waiting, through, **environment) as pids:
            begun = client.wait_event("begun", PATIENCE)
            used, cpu = usage(bench), cpu_seconds(pids)
            client.wait_event("drained", PATIENCE * 2)
            used, cpu = usage(bench) - used, cpu_seconds(pids) - cpu
            figures = client.figures(PATIENCE)
    tasks = max(1.0, count - begun["ran"])
    return {**figures, "count": count, **_costs(bench, used, cpu, tasks)}


def usage(bench: Bench) -> Usage:
    """What the peer's Redis has done so far; nothing where it has none."""
    on_redis = bench.peer.store == "redis" and bench.run.redis is not None
    return bench.run.redis.usage() if on_redis and bench.run.redis is not None else Usage(0, 0, 0, 0.0)


def _costs(bench: Bench, used: Usage, cpu: float, tasks: float) -> dict[str, float]:
    """Of one task."""
    costs = {"worker_cpu": cpu / tasks * 1e6}
    if bench.peer.store == "redis":
        costs |= {
            "redis_cpu": used.cpu / tasks * 1e6,
            "commands": used.commands / tasks,
            "bytes_in": used.bytes_in / tasks,
            "bytes_out": used.bytes_out / tasks,
        }
    return costs


_RATE = Metric("per_second", "drained", "tasks/s", more=True)
_TASKS = Metric("count", "tasks", "", more=True)
_REPEATED = Metric("repeated", "run twice", "", more=False)
_COSTS = (
    Metric("worker_cpu", "worker's CPU", "µs", more=False),
    Metric("redis_cpu", "Redis's CPU", "µs", more=False),
    Metric("commands", "Redis commands", "", more=False),
    Metric("bytes_in", "bytes to Redis", "", more=False),
    Metric("bytes_out", "bytes from Redis", "", more=False),
)

WITH_RESULTS = Scenario(
    name="drain",
    label="drain with results",
    title="drain with results: first task's start to last result available, every result checked",
    metrics=(_RATE, _TASKS, _REPEATED),
)
COST = Scenario(
    name="cost",
    label="CPU of a task, results kept",
    title="what a task of that drain costs (commands: those inside of scripts are counted too)",
    metrics=_COSTS,
)
WITHOUT_RESULTS = Scenario(
    name="drain-no-results",
    label="drain without results",
    title="drain without results: first to last task run",
    metrics=(_RATE, _TASKS, _REPEATED),
)
COST_WITHOUT_RESULTS = Scenario(
    name="cost-no-results",
    label="CPU of a task, no results",
    title="what a task of that drain costs",
    metrics=_COSTS,
)


def with_results(bench: Bench) -> Figures:
    """Tasks whose results are kept."""
    figures = drain(bench, "stamp")
    return {WITH_RESULTS.name: figures, COST.name: figures}


def without_results(bench: Bench) -> Figures:
    """Tasks whose results are not."""
    figures = drain(bench, "count")
    return {WITHOUT_RESULTS.name: figures, COST_WITHOUT_RESULTS.name: figures}


DRAIN = Measurement(name="drain", scenarios=(WITH_RESULTS, COST), measure=with_results)
DRAIN_NO_RESULTS = Measurement(
    name="drain-no-results", scenarios=(WITHOUT_RESULTS, COST_WITHOUT_RESULTS), measure=without_results
)
