"""`make bench`: every measurement of every peer in alternating rounds, as tables, a JSON file and a page of plots.

Each round takes the peers in turn on an emptied broker, so that a change of the machine's speed meets all of them;
figures are medians over the rounds with the smallest and the largest beside them. A peer that fails is shown with the
end of its log, and the rest goes on; the exit status is 1 only if Umbel itself failed.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benches import machine, plots, report, work
from benches.bench import PROJECT, Bench, Run
from benches.failure import PeerFailed
from benches.peers import PEERS, Peer
from benches.rabbit_server import private_rabbitmq
from benches.redis_server import private_redis
from benches.results import Results
from benches.scenarios import MEASUREMENTS, Measurement
from benches.scenarios.distance import DISTANCES, describe

#: Of a run that is to be over in a minute.
_QUICK_PEERS = ["umbel-prefork", "umbel-threads", "celery-prefork"]
_QUICK_MEASUREMENTS = ["publish", "drain", "latency"]


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benches.run", description="Umbel beside other task queues")
    parser.add_argument("--rounds", type=int, help="how often each figure is taken (3)")
    parser.add_argument(
        "--seconds", type=float, help="how long a drain lasts; publishing and round trips half as long (2.0)"
    )
    parser.add_argument("--most", type=int, default=200_000, help="most tasks of one measurement")
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), metavar="PEER", help=", ".join(PEERS))
    parser.add_argument(
        "--scenarios", nargs="+", choices=list(MEASUREMENTS), metavar="SCENARIO", help=", ".join(MEASUREMENTS)
    )
    parser.add_argument("--quick", action="store_true", help="a minute: Umbel and Celery, one round, the main figures")
    parser.add_argument("--appendonly", choices=["yes", "no"], default="yes", help="Redis: keep an append-only file")
    parser.add_argument("--appendfsync", choices=["everysec", "always", "no"], default="everysec")
    parser.add_argument("--output", type=Path, help="JSON file (benches/results/<time>.json); the plots go beside it")
    parser.add_argument("--plots", choices=["svg", "png", "none"], default="svg")
    parser.add_argument("--proxy", type=Path, help="the program delaying_proxy (target/release/examples/…)")
    options = parser.parse_args(words)
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.seconds = options.seconds or (1.5 if options.quick else 2.0)
    options.peers = options.peers or (_QUICK_PEERS if options.quick else list(PEERS))
    options.scenarios = options.scenarios or (_QUICK_MEASUREMENTS if options.quick else list(MEASUREMENTS))
    options.output = options.output or PROJECT / "benches" / "results" / time.strftime("%Y%m%d-%H%M%S.json")
    return options


def steps(
    peers: Sequence[Peer], measurements: Sequence[Measurement], rounds: int
) -> Iterator[tuple[int, Measurement, Peer]]:
    """What is measured, in order: in each round every measurement, and in each measurement every peer."""
    for number in range(rounds):
        for measurement in measurements:
            # Each round begins with another peer, so that none always follows the same one.
            turn = number % max(1, len(peers))
            for peer in (*peers[turn:], *peers[:turn]):
                if measurement.due(number, peer):
                    yield number, measurement, peer


def measure(run: Run, measurement: Measurement, peer: Peer, results: Results) -> None:
    """One step. A failure is noted, and ends this measurement of this peer."""
    if (peer.name, measurement.name) in results.failures:
        return
    with tempfile.TemporaryDirectory(dir=run.folder, prefix=f"{peer.name}-") as name:
        bench = Bench(run, peer, Path(name))
        begun = time.monotonic()
        try:
            bench.clear()
            results.add(peer.name, measurement.measure(bench))
        except PeerFailed as failure:
            results.failures[peer.name, measurement.name] = failure
        except (OSError, ValueError, KeyError, ZeroDivisionError) as error:
            reason = f"{type(error).__name__}: {error}"
            results.failures[peer.name, measurement.name] = PeerFailed(reason, bench.logs())
        took = results.durations.setdefault(measurement.name, {}).setdefault(peer.name, [])
        took.append(round(time.monotonic() - begun, 2))


def outcome(results: Results, measurement: Measurement, peer: Peer) -> str:
    """A few words about the measurement taken last, for a log."""
    if (peer.name, measurement.name) in results.failures:
        return "failed"
    return f"took {results.durations[measurement.name][peer.name][-1]:.1f} s"


def described(peer: Peer, run: Run) -> dict[str, Any]:
    """Settings and versions; in place of those, why the peer is not installed."""
    try:
        return {"settings": dict(peer.settings), "versions": machine.versions(peer, run)}
    except machine.NotInstalled as reason:
        return {"settings": dict(peer.settings), "versions": None, "absent": str(reason)}


def circumstances(run: Run, options: argparse.Namespace) -> dict[str, Any]:
    """What a reader needs to judge the figures."""
    found: dict[str, Any] = {
        "machine": machine.facts(run.folder),
        "run": {
            "command": " ".join(["python -m benches.run", *sys.argv[1:]]),
            "began": time.strftime("%Y-%m-%d %H:%M:%S %Z"),
            "rounds": options.rounds,
            "seconds": options.seconds,
            "loops of a 1 ms task": run.loops,
        },
        "peers": {name: described(PEERS[name], run) for name in options.peers},
    }
    if run.redis is not None:
        found["redis"] = {
            "version": run.redis.version(),
            "appendonly": options.appendonly,
            "appendfsync": options.appendfsync,
            "save": "off",
        }
    if run.rabbit is not None:
        found["rabbitmq"] = {"version": run.rabbit.version(), "queues": "durable, classic", "messages": "persistent"}
    if run.distance_proxy is not None:
        found["proxy"] = {f"at {distance} ms": describe(run.distance_proxy, distance) for distance in DISTANCES}
    return found


@contextlib.contextmanager
def prepared(options: argparse.Namespace) -> Iterator[Run]:
    """A run: its folder, its servers as far as they are needed, and the proxy if there is one."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="umbel-bench-")))
        redis = None
        if any(PEERS[name].store == "redis" for name in options.peers):
            persistence = ("--appendonly", options.appendonly, "--appendfsync", options.appendfsync)
            redis = stack.enter_context(private_redis(folder, persistence))
        rabbit = None
        if any(PEERS[name].store == "rabbitmq" for name in options.peers):
            rabbit = stack.enter_context(private_rabbitmq(folder / "rabbitmq"))
            rabbit.clear()
        proxy = options.proxy if "distance" in options.scenarios else None
        yield Run(folder, redis, options.seconds, work.calibrate(), options.most, proxy, rabbit=rabbit)


def progress(console: Console) -> Progress:
    """A bar that says what is being measured, and how long the rest takes."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"),
        TimeRemainingColumn(), console=console,
    )  # fmt: skip


def main(words: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit status."""
    options = arguments(words)
    console = Console(width=None if sys.stdout.isatty() else 160)
    with prepared(options) as run:
        results = Results(circumstances(run, options))
        report.print_circumstances(console, results)
        installed = [name for name, details in results.circumstances["peers"].items() if details["versions"]]
        plan = list(
            steps(
                [PEERS[name] for name in installed], [MEASUREMENTS[name] for name in options.scenarios], options.rounds
            )
        )
        with progress(console) as bar:
            shown = bar.add_task("", total=len(plan))
            for number, measurement, peer in plan:
                doing = f"round {number + 1}: {measurement.name}, {peer.name}"
                bar.update(shown, description=doing)
                measure(run, measurement, peer, results)
                if not console.is_terminal:
                    console.print(f"{time.strftime('%H:%M:%S')} {doing}: {outcome(results, measurement, peer)}")
                bar.advance(shown)
                results.write(options.output)
        results.circumstances["counts"] = run.counts
    finish(console, results, options)
    missing = [name for name in options.peers if PEERS[name].ours and name not in installed]
    failed = [peer for peer, _ in results.failures if PEERS[peer].ours]
    return 1 if failed or missing else 0


def finish(console: Console, results: Results, options: argparse.Namespace) -> None:
    """Prints and writes everything."""
    results.write(options.output)
    report.print_figures(console, results)
    report.print_failures(console, results)
    if not options.quick:
        report.print_bars(console, results)
    console.print(f"figures: {options.output}")
    if options.plots != "none":
        page = options.output.with_suffix(f".{options.plots}")
        try:
            plots.draw(results, page)
            console.print(f"plots: {page}")
        except ImportError:
            console.print("no plots: matplotlib is not installed (benches/requirements.txt)")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # Ends what was started, as Ctrl-C does.
    sys.exit(main())
