"""Publishing, with no worker at work."""

from __future__ import annotations

from benches.bench import Bench
from benches.scenarios.scenario import Figures, Measurement, Metric, Scenario

#: Of one process.
THREADS = 8

_RATE = Metric("per_second", "published", "messages/s", more=True)

ONE_BY_ONE = Scenario(
    name="publish",
    label="publish one by one",
    title="publish one by one: one thread, each message confirmed before the next",
    metrics=(_RATE,),
)
BULK = Scenario(
    name="bulk",
    label="publish in bulk",
    title="publish in bulk: by the thousand, with what the library offers for that",
    metrics=(_RATE,),
)
TOGETHER = Scenario(
    name=f"publish-{THREADS}",
    label=f"publish from {THREADS} threads",
    title=f"publish from {THREADS} threads of one process, each message before the thread's next",
    metrics=(_RATE,),
)


def publish(bench: Bench) -> Figures:
    """One by one, then in bulk."""
    seconds = bench.run.moment
    within = seconds + 60
    one_by_one = bench.measure("publish", within, seconds=seconds, most=bench.run.most)
    bench.clear()
    bulk = bench.measure("publish_bulk", within, seconds=seconds, most=bench.run.most)
    return {ONE_BY_ONE.name: one_by_one, BULK.name: bulk}


def publish_together(bench: Bench) -> Figures:
    """One by one, by many threads at once."""
    seconds = bench.run.moment
    figures = bench.measure("publish_together", seconds + 60, seconds=seconds, most=bench.run.most, clients=THREADS)
    return {TOGETHER.name: figures}


PUBLISH = Measurement(name="publish", scenarios=(ONE_BY_ONE, BULK), measure=publish, wants=lambda peer: peer.publishes)

#: Only of peers that name it.
PUBLISH_TOGETHER = Measurement(
    name=TOGETHER.name, scenarios=(TOGETHER,), measure=publish_together, wants=lambda peer: False
)
