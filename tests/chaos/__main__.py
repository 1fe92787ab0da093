"""`make chaos`: kills, stops and cuts off real processes under load, and says what that did to the tasks."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from chaos import report
from chaos.run import VISIBILITY, Outcome, Plan, Run, clean
from chaos.schedule import rows, schedule


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1800, help="how long tasks are published [%(default)s]")
    parser.add_argument("--seed", type=int, default=1, help="the same seed plans the same faults [%(default)s]")
    parser.add_argument("--broker", choices=["redis", "sqlite"], default="redis")
    parser.add_argument("--with-celery", action="store_true", help="a Celery worker in the fleet (Redis)")
    parser.add_argument("--rate", type=float, default=100, help="tasks a second [%(default)s]")
    parser.add_argument("--every", type=float, default=3.5, help="seconds between faults, on average [%(default)s]")
    parser.add_argument(
        "--fsync",
        choices=["always", "everysec", "no"],
        default="everysec",
        help="Redis' appendfsync; the benchmarks' unless told [%(default)s]",
    )
    parser.add_argument("--plan", action="store_true", help="print the faults and end")
    parser.add_argument("--keep", action="store_true", help="keep ledger, logs and broker also of a good run")
    parser.add_argument("--report", type=Path, default=Path("chaos.json"), help="where the report goes [%(default)s]")
    found = parser.parse_args()
    if found.with_celery and found.broker != "redis":
        parser.error("--with-celery needs --broker redis")
    return found


def carry_out(plan: Plan, folder: Path, console: Console) -> Outcome:
    """Runs a plan behind a progress bar."""
    columns = BarColumn(20), TimeRemainingColumn(compact=True), TextColumn("{task.fields[counts]}")
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("chaos", total=plan.seconds, counts="")
        run = Run(plan, folder)

        def show(run: Run, elapsed: float) -> None:
            counts, events = run.counts, run.counts.events
            numbers = (
                f"{len(run.injector.strikes)} faults · {events['confirmed']:,} confirmed · "
                f"{len(counts.unfinished):,} unfinished · {len(counts.awaited):,} awaited"
            )
            progress.update(bar, completed=min(elapsed, plan.seconds), counts=numbers)

        return run.go(show)


def main() -> int:
    """Exit status 0 for a good run."""
    options, console = arguments(), Console()
    kinds = rows(options.broker, options.with_celery)
    faults = schedule(options.seed, options.seconds, options.every, kinds)
    if options.plan:
        for fault in faults:
            console.print(fault, highlight=False)
        return 0
    plan = Plan(
        options.broker,
        faults,
        options.seconds,
        seed=options.seed,
        rate=options.rate,
        with_celery=options.with_celery,
        fsync=options.fsync,
        patience=60 + 2 * VISIBILITY if options.with_celery else 60,
    )
    folder = Path(tempfile.mkdtemp(prefix="umbel-chaos-"))
    console.print(f"seed {options.seed}: {len(faults)} faults in {options.seconds:g} s; ledger and logs in {folder}")
    outcome = carry_out(plan, folder, console)
    report.show(outcome, console)
    options.report.write_text(json.dumps(outcome.as_json(), indent=1) + "\n")
    console.print(f"written to {options.report}")
    if outcome.failures():
        console.print(f"kept for you to look at: {folder}")
        return 1
    if not options.keep:
        clean(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
