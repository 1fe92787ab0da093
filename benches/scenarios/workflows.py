"""Workflows, from the call that sends one to its result in hand, on a worker that has nothing else to do."""

from __future__ import annotations

from benches.bench import Bench
from benches.scenarios.drain import usage
from benches.scenarios.scenario import OURS, Figures, Measurement, Metric, Scenario

#: How long one may take (seconds).
PATIENCE = 400.0

_METRICS = (
    Metric("seconds", "took", "s", more=False),
    Metric("sending", "of that sending", "s", more=False),
    Metric("megabytes", "through Redis, both ways", "MB", more=False),
    Metric("memory", "client's memory at most", "MB", more=False),
)

#: Kind of each, and how many: members, steps, chords in each other.
SIZES = {"chord": 1000, "chain": 500, "nested": 50, "group": 100_000}

CHORD = Scenario(
    name="chord", label="chord of 1,000", title="a chord of 1,000 members and a body that adds up", metrics=_METRICS
)
CHAIN = Scenario(name="chain", label="chain of 500", title="a chain of 500 steps", metrics=_METRICS)
NESTED = Scenario(
    name="nested",
    label="50 nested chords",
    title="50 chords of 10 members, each the body of the one before",
    metrics=_METRICS,
)
GROUP = Scenario(
    name="group", label="group of 100,000", title="a group of 100,000 members, all results in hand", metrics=_METRICS
)


def workflows(bench: Bench) -> Figures:
    """Each kind on one worker."""
    bench.clear()
    with bench.worker():
        bench.wait_ready()
        return {kind: workflow(bench, kind, size) for kind, size in SIZES.items()}


def workflow(bench: Bench, kind: str, size: int) -> dict[str, float]:
    """One of them."""
    before = usage(bench)
    figures: dict[str, float] = bench.measure(
        "workflow", PATIENCE + 60, kind=kind, size=min(size, bench.run.most), patience=PATIENCE
    )
    used = usage(bench) - before
    if bench.peer.store == "redis":
        figures["megabytes"] = (used.bytes_in + used.bytes_out) / 1e6
    return figures


WORKFLOWS = Measurement(
    name="workflows",
    scenarios=(CHORD, CHAIN, NESTED, GROUP),
    measure=workflows,
    rounds=OURS,
    wants=lambda peer: peer.workflows,
)
