"""`make bench`: every scenario for every peer in alternating rounds, as a table and a JSON file.

Each round takes the peers in turn on an emptied private Redis, so that a change of the machine's speed meets all of
them; figures are medians over the rounds with the smallest and the largest beside them.
"""

import argparse
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import redis
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benches.peers import PEERS, Peer

PROJECT = Path(__file__).parent.parent
COUNTS = {"publish": 3000, "drain": 5000, "round-trip": 500, "start": 300}
FIGURE = {"publish": "per_second", "drain": "per_second", "round-trip": "p50", "start": "p50"}
UNIT = {"publish": "messages/s", "drain": "tasks/s", "round-trip": "ms p50", "start": "ms p50"}
STOP_WITHIN = 40.0

console = Console()


@contextmanager
def private_redis(folder: Path) -> Iterator[int]:
    """A Redis server on a free loopback port, without persistence as most brokers run."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    with open(folder / "redis.log", "wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        client = redis.Redis(port=port)
        deadline = time.monotonic() + 10
        while True:
            try:
                client.ping()
                break
            except redis.ConnectionError:
                if time.monotonic() > deadline:
                    raise
        yield port
    finally:
        server.terminate()
        server.wait()


@contextmanager
def worker(peer: Peer, concurrency: int, environment: dict[str, str], folder: Path) -> Iterator[None]:
    """The peer's worker process."""
    arguments = [part.format(concurrency=concurrency) for part in peer.worker]
    with open(folder / f"{peer.name}.log", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments], env=environment, cwd=folder, stdout=log, stderr=log
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def measure(peer: Peer, scenario: str, concurrency: int, port: int, folder: Path) -> dict[str, float]:
    """One figure set: client and worker as processes on a clean broker."""
    redis.Redis(port=port).flushall()
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    with tempfile.TemporaryDirectory(dir=folder) as name:
        if peer.needs_redis:
            environment |= {
                "BENCH_BROKER": f"redis://127.0.0.1:{port}/0",
                "BENCH_BACKEND": f"redis://127.0.0.1:{port}/0",
            }
        command = [sys.executable, "-m", "benches.client", peer.application, scenario, str(COUNTS[scenario])]
        client = subprocess.Popen(command, env=environment, cwd=name, stdout=subprocess.PIPE, text=True)
        assert client.stdout is not None
        if scenario == "publish":
            output = client.stdout.read()
        else:
            if scenario == "drain":
                client.stdout.readline()
            with worker(peer, concurrency, environment, Path(name)):
                output = client.stdout.read()
        if client.wait() != 0:
            log = Path(name) / f"{peer.name}.log"
            raise SystemExit(f"{peer.name} failed at {scenario}\n{log.read_text() if log.exists() else ''}")
        figures: dict[str, float] = json.loads(output.splitlines()[-1])
        return figures


def table(figures: dict[str, dict[str, list[float]]], reference: str) -> Table:
    """Medians, spread and the ratio to the reference peer."""
    shown = Table(title="median (smallest - largest) x ratio to " + reference)
    shown.add_column("scenario")
    for peer in figures:
        shown.add_column(peer, justify="right")
    for scenario in COUNTS:
        cells = []
        for peer in figures:
            values = figures[peer].get(scenario)
            if not values:
                cells.append("")
                continue
            middle = median(values)
            base = figures.get(reference, {}).get(scenario)
            ratio = f" x {middle / median(base):.2f}" if base and peer != reference else ""
            cells.append(f"{middle:,.2f} ({min(values):,.2f} - {max(values):,.2f}){ratio}")
        shown.add_row(f"{scenario}, {UNIT[scenario]}", *cells)
    return shown


def settings(peers: list[Peer], options: argparse.Namespace) -> dict[str, Any]:
    """What a reader needs to judge the figures."""
    return {
        "machine": {"cpus": len(os.sched_getaffinity(0)), "python": platform.python_version()},
        "versions": {name: version(name) for name in ("umbel", "celery", "kombu", "redis")},
        "redis": "private, loopback, no persistence",
        "concurrency": options.concurrency,
        "rounds": options.rounds,
        "counts": COUNTS,
        "peers": {peer.name: peer.settings for peer in peers},
    }


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each figure is taken")
    parser.add_argument("--concurrency", type=int, default=2, help="processes or threads of each worker")
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=list(PEERS), metavar="PEER")
    parser.add_argument("--scenarios", nargs="+", default=list(COUNTS), choices=list(COUNTS), metavar="SCENARIO")
    parser.add_argument("--output", type=Path, default=Path("bench.json"))
    options = parser.parse_args()
    peers = [PEERS[name] for name in options.peers]
    figures: dict[str, dict[str, list[float]]] = {peer.name: {} for peer in peers}
    steps = [(scenario, peer) for scenario in options.scenarios for _ in range(options.rounds) for peer in peers]
    with tempfile.TemporaryDirectory(prefix="umbel-bench-") as name, private_redis(Path(name)) as port:
        for scenario, peer in track(steps, console=console, description="measuring"):
            measured = measure(peer, scenario, options.concurrency, port, Path(name))
            figures[peer.name].setdefault(scenario, []).append(measured[FIGURE[scenario]])
    used = settings(peers, options)
    console.print(table(figures, "celery-prefork"))
    console.print_json(data=used)
    options.output.write_text(json.dumps({"settings": used, "figures": figures}, indent=1) + "\n")
    console.print(f"written to {options.output}")


if __name__ == "__main__":
    main()
