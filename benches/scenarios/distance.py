"""Workers some way off from their broker: a proxy on loopback delays what they send and receive.

The queue is filled from nearby, so that only the worker is measured. Also at 0 ms the proxy is between, so that its own
cost is in all of the figures.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

from benches.bench import Bench
from benches.failure import PeerFailed
from benches.processes import running, start
from benches.scenarios.drain import drain
from benches.scenarios.scenario import OURS, Figures, Measurement, Metric, Scenario

#: Milliseconds of a round trip to the broker.
DISTANCES = (0, 1, 5)

DISTANCE = Scenario(
    name="distance",
    label="drain at 5 ms from the broker",
    title="drain with results, the broker a round trip of 0, 1 and 5 ms away from the worker",
    metrics=(
        Metric("at_5", "at 5 ms", "tasks/s", more=True),
        Metric("at_1", "at 1 ms", "tasks/s", more=True),
        Metric("at_0", "at 0 ms", "tasks/s", more=True),
        Metric("share_5", "5 ms of 0 ms", "%", more=True),
    ),
)


def distance(bench: Bench) -> Figures:
    """One drain for each distance."""
    figures = {}
    for milliseconds in DISTANCES:
        with proxy(bench, milliseconds) as port:
            drained = drain(bench, "stamp", through=port, key=f"stamp-at-{milliseconds}")
        figures[f"at_{milliseconds}"] = drained["per_second"]
    return {DISTANCE.name: {**figures, "share_5": figures["at_5"] / figures["at_0"] * 100}}


@contextlib.contextmanager
def proxy(bench: Bench, milliseconds: float) -> Iterator[int]:
    """A proxy in front of the run's Redis; yields its port. Raises PeerFailed."""
    program, redis = bench.run.distance_proxy, bench.run.redis
    if program is None or redis is None:
        raise PeerFailed("no proxy: cargo build --release -p umbel-broker --example delaying_proxy")
    command = [str(program), "--to", str(redis.port), "--round-trip-ms", str(milliseconds)]
    with open(bench.folder / "proxy.log", "ab") as log:
        process = start(command, bench.folder, {}, subprocess.PIPE, log)
        with running(process, within=0):
            assert process.stdout is not None
            yield int(process.stdout.readline())


def describe(program: Path, milliseconds: float) -> str:
    """What the proxy itself can do at a distance. Raises OSError, ValueError, subprocess.SubprocessError."""
    command = [str(program), "--check", "--round-trip-ms", str(milliseconds)]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    found = json.loads(done.stdout)
    rates = f"{found['megabytes_per_second']:,.0f} MB/s, {found['pieces_per_second']:,.0f} pieces/s"
    return f"round trip {found['round_trip_ms']:.2f} ms, {rates} through it and back"


FAR = Measurement(name="distance", scenarios=(DISTANCE,), measure=distance, rounds=OURS, wants=lambda peer: peer.far)
