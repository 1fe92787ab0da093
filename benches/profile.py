"""`make profile`: flame graphs of a worker's main process and of one child while they drain a queue on Redis.

Three pictures: what the main process does (perf), what a child does (perf), and the child's Python (py-spy). perf needs
permission to sample processes; where it has none, the reason is said and the rest goes on. Before them a table of the
processor time of every thread, Redis's included.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benches import work
from benches.bench import PROJECT, Bench, Run
from benches.failure import PeerFailed
from benches.flames import Stack, fold_perf, fold_raw, svg
from benches.peers import PEERS
from benches.processes import members, thread_seconds
from benches.redis_server import private_redis

_ADVICE = "run as root, or: sysctl -w kernel.perf_event_paranoid=1 kernel.yama.ptrace_scope=0"


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    ours = [name for name, peer in PEERS.items() if peer.ours]
    parser = argparse.ArgumentParser(
        prog="python -m benches.profile", description="Flame graphs of a worker under load"
    )
    parser.add_argument("--peer", choices=ours, default="umbel-prefork", help="(umbel-prefork)")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each picture is sampled (3)")
    parser.add_argument(
        "--task",
        choices=["stamp", "count", "burn"],
        default="stamp",
        help="a task with a result, one without, or one of 1 ms of CPU (stamp)",
    )
    parser.add_argument("--tasks", type=int, help="tasks in the queue; they must last (300,000, of 1 ms: 30,000)")
    parser.add_argument("--extension", type=Path, help="Umbel's extension with symbols (target/release/lib_native.so)")
    parser.add_argument("--output", type=Path, default=PROJECT / "benches" / "results", help="folder of the pictures")
    options = parser.parse_args(words)
    if options.tasks is None:
        options.tasks = 30_000 if options.task == "burn" else 300_000
    return options


def main(words: Sequence[str] | None = None) -> int:
    """Draws the pictures; the exit status is 1 if none could be drawn."""
    options = arguments(words)
    options.output.mkdir(parents=True, exist_ok=True)
    drawn = 0
    with under_load(options) as (bench, pids):
        family = sorted(members(pids[0]))
        # The main process, the fork server of a prefork pool, the children in the order of their start.
        child = family[-1]
        pictures: list[tuple[str, int, Callable[[int, float, Path], Counter[Stack]]]] = [
            ("main-process", pids[0], sample_perf)
        ]
        if child != pids[0]:
            pictures.append(("child", child, sample_perf))
        print_shares({bench.run.redis.pid: "Redis"} if bench.run.redis else {}, family, options.seconds)
        pictures.append(("child-python" if child != pids[0] else "python", child, sample_python))
        for name, pid, sample in pictures:
            path = options.output / f"flames-{options.peer}-{name}.svg"
            try:
                path.write_text(svg(sample(pid, options.seconds, bench.folder), f"{options.peer}, {name}"))
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                print(f"no picture of {name}: {error}")
            else:
                drawn += 1
                print(f"{name}: {path}")
        left = options.tasks - bench.tally.total()
        print(f"{left:,} tasks were left at the end" if left else "the queue ran dry: give --tasks a larger number")
    return 0 if drawn else 1


def print_shares(others: dict[int, str], family: Sequence[int], seconds: float) -> None:
    """What each thread takes of one processor, as a table."""
    pids = [*family, *others]
    before = thread_seconds(pids)
    time.sleep(seconds)
    table = Table("process", "thread", "of one processor", title=f"processor time in {seconds:g} s")
    for (pid, tid), (name, used) in sorted(thread_seconds(pids).items()):
        share = (used - before.get((pid, tid), (name, 0.0))[1]) / seconds
        if share >= 0.001:
            table.add_row(others.get(pid, str(pid)), name, f"{share:.1%}")
    Console().print(table)


@contextlib.contextmanager
def under_load(options: argparse.Namespace) -> Iterator[tuple[Bench, list[int]]]:
    """A worker that drains a full queue; yields its pids. Raises PeerFailed."""
    peer = PEERS[options.peer]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="umbel-profile-")))
        redis = None
        if peer.store == "redis":
            redis = stack.enter_context(private_redis(folder, ("--appendonly", "yes", "--appendfsync", "everysec")))
        own = folder / peer.name
        own.mkdir()
        bench = Bench(Run(folder, redis, options.seconds, work.calibrate()), peer, own)
        path = [str(with_extension(folder, options.extension))] if options.extension else []
        value = bench.run.loops if options.task == "burn" else None
        parameters = {"count": options.tasks, "task": options.task, "value": value, "patience": 600}
        client = stack.enter_context(bench.client("drain", **parameters))
        client.wait_event("filled", 300)
        pids = stack.enter_context(bench.worker(path=path))
        client.wait_event("begun", 60)
        yield bench, pids


def with_extension(folder: Path, extension: Path) -> Path:
    """A folder with a package `umbel` that is this project's, but for the extension. Raises OSError without that."""
    package = folder / "with-symbols" / "umbel"
    package.mkdir(parents=True)
    for entry in (PROJECT / "python" / "umbel").iterdir():
        if entry.suffix not in (".so", ".tmp") and entry.name != "__pycache__":
            (package / entry.name).symlink_to(entry)
    (package / "_native.so").symlink_to(extension.resolve(strict=True))
    return package.parent


def sample_perf(pid: int, seconds: float, folder: Path) -> Counter[Stack]:
    """Stacks of all threads of a process. Raises OSError with what to do about it."""
    data = folder / f"perf-{pid}.data"
    record = [
        "perf",
        "record",
        "--freq",
        "499",
        "--call-graph",
        "dwarf,16384",
        "--pid",
        str(pid),
        "--output",
        str(data),
    ]
    _sample([*record, "--", "sleep", str(seconds)], seconds, "perf")
    script = ["perf", "script", "--input", str(data), "--no-inline", "--fields", "comm,ip,sym"]
    done = subprocess.run(script, capture_output=True, text=True, errors="replace", timeout=600)
    return fold_perf(done.stdout.splitlines())


def sample_python(pid: int, seconds: float, folder: Path) -> Counter[Stack]:
    """Python stacks of a process. Raises OSError with what to do about it."""
    output = folder / f"python-{pid}.txt"
    program = str(Path(sys.executable).parent / "py-spy")
    command = [program, "record", "--pid", str(pid), "--duration", str(max(1, round(seconds))), "--rate", "200"]
    _sample([*command, "--format", "raw", "--output", str(output)], seconds, "py-spy")
    return fold_raw(output.read_text().splitlines())


def _sample(command: list[str], seconds: float, name: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=seconds + 60)
    except FileNotFoundError:
        raise OSError(f"{name} is not installed (Debian: linux-perf; py-spy: benches/requirements.txt)") from None
    if done.returncode != 0:
        raise OSError(f"{name} was not allowed to, or failed ({_ADVICE}):\n{done.stderr.strip()}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except PeerFailed as failure:
        print(f"{failure.reason}\n{failure.log}")
        sys.exit(1)
