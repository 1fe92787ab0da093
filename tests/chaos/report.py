"""What a run came to, as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import ceil

from rich.console import Console
from rich.table import Table

from chaos.run import Outcome

_SHOWN = 10


def percentile(values: Iterable[float], part: float) -> float:
    """The smallest value that `part` of them do not exceed; NaN of none."""
    ordered = sorted(values)
    return ordered[max(0, ceil(part * len(ordered)) - 1)] if ordered else float("nan")


def spread(values: list[float]) -> str:
    """Median, tail and largest."""
    if not values:
        return ""
    return f"{percentile(values, 0.5):.2f} / {percentile(values, 0.99):.2f} / {max(values):.2f}"


def faults_table(outcome: Outcome) -> Table:
    """A row for each kind of fault: how often, the repeats that it explains, and how long their tasks were away."""
    table = Table("fault", title="faults", title_justify="left")
    for heading in ("times", "repeats it explains", "back after, s: p50 / p99 / max"):
        table.add_column(heading, justify="right")
    times = Counter(strike.label for strike in outcome.strikes)
    repeats = outcome.verdict.repeats
    for label in sorted({*times, *(repeat.cause for repeat in repeats if repeat.cause)}):
        explained = [repeat for repeat in repeats if repeat.cause == label]
        back = [repeat.back_after for repeat in explained if repeat.back_after is not None]
        table.add_row(label, str(times[label] or ""), str(len(explained) or ""), spread(back))
    return table


def tasks_table(outcome: Outcome) -> Table:
    """What became of the tasks."""
    verdict = outcome.verdict
    rows = [
        ("publishes", verdict.attempted),
        ("confirmed", verdict.confirmed),
        ("unconfirmed: their producer died or was refused", verdict.unconfirmed),
        ("  of which ran all the same", verdict.unconfirmed_ran),
        ("runs, retries included", verdict.runs),
        ("kills", outcome.kills),
        ("lost", len(verdict.lost)),
        ("without result", len(verdict.no_result)),
        ("repeats", len(verdict.repeats)),
        ("repeats unexplained", len(verdict.unexplained)),
        ("back too late", len(verdict.late)),
        ("waited too long", len(verdict.waited)),
    ]
    if outcome.plan.rules.forgetful:
        rows.append(("lost with the memory of a killed server", len(verdict.forgotten)))
    if outcome.plan.with_celery:
        rows += [
            ("taken from Celery before their time", len(verdict.taken_from_celery)),
            ("popped by Celery and lost with it", len(verdict.lost_by_celery)),
            ("result spoilt by Celery", len(verdict.spoilt_by_celery)),
            ("acknowledged before they run", verdict.early),
            ("  of which never finished", verdict.early_lost),
        ]
    table = Table("tasks", title="tasks", title_justify="left")
    table.add_column("", justify="right")
    for name, count in rows:
        table.add_row(name, f"{count:,}")
    table.add_row("wait for the first run, s: p50 / p99 / max", spread(verdict.waits))
    table.add_row("finished after the last fault, s", f"{outcome.drained_in:.1f}")
    return table


def show(outcome: Outcome, console: Console) -> None:
    """Prints all of it."""
    for name, value in outcome.settings.items():
        console.print(f"{name}: {value}", highlight=False)
    console.print(faults_table(outcome))
    console.print(tasks_table(outcome))
    verdict = outcome.verdict
    for repeat in (verdict.unexplained + verdict.late)[:_SHOWN]:
        console.print(repeat)
    for task_id in (verdict.lost + verdict.no_result + verdict.wrong_result)[:_SHOWN]:
        console.print(f"see {task_id} in {outcome.folder / 'ledger'}")
    for task_id, seconds in verdict.waited[:_SHOWN]:
        console.print(f"{task_id} waited {seconds:.1f} s")
    for failure in outcome.failures():
        console.print(f"[bold red]{failure}")
    if not outcome.failures():
        console.print("[bold green]nothing lost, every repeat explained, everything back in time")
