"""`make soak`: the fleet under steady load without faults; memory, descriptors, threads and broker must stay flat."""

from __future__ import annotations

import argparse
import bisect
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, linear_regression

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from chaos.brokers import EXPIRING, MEBI
from chaos.fleet import Worker
from chaos.run import Outcome, Plan, Run, clean

#: Results live so long (seconds): much less than the run, so that their number settles.
RESULT_EXPIRES = 60.0
#: Growth that is called flat: this part of the mean, or the absolute amount of its kind, whichever is more.
TOLERATED_PART = 0.05
TOLERATED = {"MiB": 1.5, "fds": 2.0, "threads": 1.0, "keys": 20.0, "result": 0.0}
_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Series:
    """One measured value over time."""

    name: str
    #: Seconds from the start, and values.
    times: Sequence[float]
    values: Sequence[float]

    @property
    def settled(self) -> tuple[Sequence[float], Sequence[float]]:
        """The second half: by then everything has been started and warmed up."""
        half = len(self.values) // 2
        return self.times[half:], self.values[half:]

    @property
    def growth(self) -> float:
        """By how much it grows over the second half, by its straight line."""
        times, values = self.settled
        if len(values) < 2:
            return 0.0
        return linear_regression(times, values).slope * (times[-1] - times[0])

    @property
    def tolerated(self) -> float:
        """How much growth is flat."""
        unit = self.name.rpartition(" ")[2]
        return max(TOLERATED[unit], TOLERATED_PART * fmean(self.settled[1]))

    @property
    def is_flat(self) -> bool:
        """Whether it does not grow."""
        return self.growth <= self.tolerated

    def line(self, width: int = 40) -> str:
        """A small drawing from zero to its largest value."""
        step = max(1, len(self.values) / width)
        points = [self.values[int(index * step)] for index in range(min(width, len(self.values)))]
        top = max(points) or 1.0
        return "".join(_BARS[min(len(_BARS) - 1, int(point / top * len(_BARS)))] for point in points)


class Sampler:
    """Measures a run every few seconds."""

    def __init__(self, every: float) -> None:
        self._every = every
        self._next = 0.0
        self._times: dict[str, list[float]] = defaultdict(list)
        self._values: dict[str, list[float]] = defaultdict(list)
        #: When, and how many tasks had finished by then.
        self._finished: list[tuple[float, int]] = []

    def look(self, run: Run, elapsed: float) -> None:
        """Measures if it is time."""
        if elapsed < self._next or not run.counts.events["finish"]:
            return
        self._next = elapsed + self._every
        for name, member in run.fleet.members.items():
            self._process(f"{name} main", [member.process.pid], elapsed)
            if isinstance(member, Worker) and (children := member.children()):
                self._process(f"{name} zygote", [member.zygote()], elapsed)
                self._process(f"{name} children", children, elapsed)
        sizes = run.broker.sizes()
        self._results(sizes.pop(EXPIRING, None), run.counts.events["finish"], elapsed)
        for name, value in sizes.items():
            self._add(f"broker {name}", elapsed, value)

    def _results(self, keys: float | None, finished: int, elapsed: float) -> None:
        """Keys that expire, for each task that has finished since the oldest of them can have been written.

        Their number alone goes up and down with the tasks a second; a key that should be gone, or more of them for a
        task, shows here at any rate.
        """
        self._finished.append((elapsed, finished))
        at = bisect.bisect_right(self._finished, (elapsed - RESULT_EXPIRES, finished))
        if keys is not None and at and finished > self._finished[at - 1][1]:
            self._add("broker keys a result", elapsed, keys / (finished - self._finished[at - 1][1]))

    def _process(self, name: str, pids: Sequence[int], elapsed: float) -> None:
        self._add(f"{name} PSS MiB", elapsed, sum(map(proportional_size, pids)))
        self._add(f"{name} fds", elapsed, sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids))
        self._add(f"{name} threads", elapsed, sum(len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in pids))

    def _add(self, name: str, elapsed: float, value: float) -> None:
        self._times[name].append(elapsed)
        self._values[name].append(value)

    def series(self) -> list[Series]:
        """What was measured."""
        return [Series(name, self._times[name], values) for name, values in self._values.items()]


def proportional_size(pid: int) -> float:
    """A process's memory, what it shares counted in parts (MiB)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / MEBI
    raise ValueError(f"no Pss in smaps_rollup of {pid}")


def table(series: Sequence[Series]) -> Table:
    """A row for each."""
    shown = Table("what", "over time", title="second half of the run", title_justify="left")
    for heading in ("mean", "smallest", "largest", "growth", "tolerated"):
        shown.add_column(heading, justify="right")
    shown.add_column("")
    for one in series:
        values = one.settled[1]
        numbers = (fmean(values), min(values), max(values), one.growth, one.tolerated)
        verdict = "flat" if one.is_flat else "[bold red]grows"
        shown.add_row(one.name, one.line(), *(f"{number:,.2f}" for number in numbers), verdict)
    return shown


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1800, help="at least 240, for results to expire [%(default)s]")
    parser.add_argument("--broker", choices=["redis", "sqlite"], default="redis")
    parser.add_argument("--rate", type=float, default=150, help="tasks a second [%(default)s]")
    parser.add_argument("--every", type=float, default=5, help="seconds between two looks [%(default)s]")
    parser.add_argument("--report", type=Path, default=Path("soak.json"), help="where the report goes [%(default)s]")
    return parser.parse_args()


def soak(plan: Plan, folder: Path, every: float, console: Console) -> tuple[Outcome, list[Series]]:
    """Runs it behind a progress bar."""
    sampler = Sampler(every)
    columns = BarColumn(20), TimeRemainingColumn(compact=True), TextColumn("{task.fields[counts]}")
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("soak", total=plan.seconds, counts="")

        def show(run: Run, elapsed: float) -> None:
            if elapsed < plan.seconds:
                sampler.look(run, elapsed)
            events, unfinished = run.counts.events, len(run.counts.unfinished)
            counts = f"{events['confirmed']:,} confirmed · {unfinished:,} unfinished"
            progress.update(bar, completed=min(elapsed, plan.seconds), counts=counts)

        outcome = Run(plan, folder).go(show)
    return outcome, sampler.series()


def main() -> int:
    """Exit status 0 when all is flat."""
    options, console = arguments(), Console()
    folder = Path(tempfile.mkdtemp(prefix="umbel-soak-"))
    plan = Plan(options.broker, (), options.seconds, rate=options.rate, result_expires=RESULT_EXPIRES)
    console.print(f"{options.seconds:g} s at {options.rate:g} tasks/s; ledger and logs in {folder}")
    begin = time.monotonic()
    outcome, series = soak(plan, folder, options.every, console)
    for name, value in outcome.settings.items():
        console.print(f"{name}: {value}", highlight=False)
    console.print(table(series))
    verdict = outcome.verdict
    console.print(
        f"{verdict.confirmed:,} tasks in {time.monotonic() - begin:.0f} s, {len(verdict.lost)} lost, "
        f"{len(verdict.repeats)} repeated"
    )
    growing = [one.name for one in series if not one.is_flat]
    failures = [*outcome.failures(), *(f"{name} grows" for name in growing)]
    measured = [{"name": one.name, "times": one.times, "values": one.values, "growth": one.growth} for one in series]
    report = {"settings": outcome.settings, "series": measured, "failures": failures}
    options.report.write_text(json.dumps(report) + "\n")
    for failure in failures:
        console.print(f"[bold red]{failure}")
    if failures:
        console.print(f"kept for you to look at: {folder}")
        return 1
    console.print("[bold green]flat")
    clean(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
