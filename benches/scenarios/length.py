"""Tasks that do something: use the processor for a millisecond, or wait for ten."""

from __future__ import annotations

import json
import subprocess
import sys

from benches.bench import Bench
from benches.failure import PeerFailed
from benches.processes import running, start
from benches.scenarios.drain import drain
from benches.scenarios.scenario import FIRST, OURS, Figures, Measurement, Metric, Scenario

#: Processes that call the function of the computing tasks, and nothing else.
BARE = 2
#: Seconds a waiting task waits.
WAIT = 0.01

COMPUTE = Scenario(
    name="compute",
    label="tasks of 1 ms of CPU",
    title=f"tasks of 1 ms of CPU, beside {BARE} bare processes that call the function (measured before each)",
    metrics=(
        Metric("share", "of the bare", "%", more=True),
        Metric("per_second", "drained", "tasks/s", more=True),
        Metric("bare", "bare", "calls/s", more=True),
    ),
)
WAITING = Scenario(
    name="wait",
    label="tasks that wait 10 ms",
    title="tasks that wait 10 ms, each peer with the slots it would be given for that",
    metrics=(
        Metric("per_second", "drained", "tasks/s", more=True),
        Metric("share", "of the slots'", "%", more=True),
        Metric("slots", "slots", "", more=True),
    ),
)


def compute(bench: Bench) -> Figures:
    """The bare processes, then the tasks."""
    bare = _bare(bench)
    figures = drain(bench, "burn", value=bench.run.loops)
    share = figures["per_second"] / bare * 100
    return {COMPUTE.name: {"share": share, "per_second": figures["per_second"], "bare": bare}}


def _bare(bench: Bench) -> float:
    """Calls per second of the bare processes together. Raises PeerFailed."""
    command = [sys.executable, "-m", "benches.bare", str(bench.run.loops), str(bench.run.seconds)]
    with open(bench.folder / "bare.log", "ab") as log:
        processes = [start(command, bench.folder, bench.environment(), subprocess.PIPE, log) for _ in range(BARE)]
        rates = []
        for process in processes:
            with running(process, within=0):
                try:
                    output, _ = process.communicate(timeout=bench.run.seconds + 60)
                    rates.append(float(json.loads(output)))
                except (ValueError, subprocess.TimeoutExpired) as error:
                    raise PeerFailed(f"a bare process failed: {error}", bench.logs()) from error
    return sum(rates)


def wait(bench: Bench) -> Figures:
    """Tasks that wait; slots are all that counts."""
    slots = bench.peer.waiting_slots
    figures = drain(bench, "wait", value=WAIT, waiting=True)
    share = figures["per_second"] / (slots / WAIT) * 100
    return {WAITING.name: {"per_second": figures["per_second"], "share": share, "slots": slots}}


TASK_COMPUTES = Measurement(name="compute", scenarios=(COMPUTE,), measure=compute, rounds=OURS)
TASK_WAITS = Measurement(name="wait", scenarios=(WAITING,), measure=wait, rounds=FIRST)
