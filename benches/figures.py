"""The latest figures as Markdown: `python -m benches.figures FILE.json`.

FILE.json is what a run of `make bench` wrote; `--write` puts them into README.md.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benches.bars import BARS
from benches.report import number
from benches.results import Results, read
from benches.scenarios import SCENARIOS, Metric
from benches.summary import Summary

DOCUMENT = Path(__file__).parent / "README.md"
BLOCK = re.compile(r"(<!-- figures -->\n).*(<!-- end of figures -->)", re.DOTALL)

#: Scenario and metric of each column, in tables that fit on a page.
COLUMNS: tuple[tuple[tuple[str, str], ...], ...] = (
    (
        ("publish", "per_second"),
        ("bulk", "per_second"),
        ("drain", "per_second"),
        ("drain-no-results", "per_second"),
        ("round-trip", "p50"),
        ("start", "p50"),
        ("round-trip-32", "per_second"),
    ),
    (
        ("cost", "worker_cpu"),
        ("cost", "redis_cpu"),
        ("cost", "commands"),
        ("compute", "share"),
        ("wait", "per_second"),
        ("distance", "at_5"),
        ("distance", "share_5"),
        ("footprint", "memory"),
        ("footprint", "idle_cpu"),
        ("footprint", "start_up"),
    ),
    (
        ("chord", "seconds"),
        ("chain", "seconds"),
        ("chain", "megabytes"),
        ("nested", "seconds"),
        ("nested", "megabytes"),
        ("group", "seconds"),
    ),
)


def markdown(results: Results) -> str:
    """Circumstances, tables, expectations."""
    tables = [_table(results, columns) for columns in COLUMNS]
    return "\n".join([_circumstances(results), *tables, _expectations(results)])


def _circumstances(results: Results) -> str:
    found = results.circumstances
    machine, run, redis = found["machine"], found["run"], found.get("redis", {})
    versions = sorted(
        {f"{name} {version}" for peer in found["peers"].values() for name, version in (peer["versions"] or {}).items()}
    )
    return (
        f"{run['began']}: {machine['cpus']} CPUs ({machine['processor']}), {machine['memory_gb']} GB, Linux "
        f"{machine['kernel']}, {machine['disk']}, load before: {machine['load_before']}. {run['rounds']} rounds, "
        f"drains of {run['seconds']} s. Redis {redis.get('version', 'not used')}, "
        f"appendonly {redis.get('appendonly', '-')}, appendfsync {redis.get('appendfsync', '-')}.\n"
        f"Versions: {', '.join(versions)}.\n"
    )


def _table(results: Results, columns: Sequence[tuple[str, str]]) -> str:
    summaries = results.summaries()
    shown = [(name, _metric(name, key)) for name, key in columns if name in summaries]
    titles = [f"{_title(name, metric)}, {metric.unit or 'count'}" for name, metric in shown]
    lines = ["| | " + " | ".join(titles) + " |", "| --- |" + " ---: |" * len(shown)]
    for peer in results.circumstances["peers"]:
        cells = [_cell(summaries[name].get(peer, {}), metric.key) for name, metric in shown]
        if any(cells):
            lines.append(f"| {peer} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _metric(scenario: str, key: str) -> Metric:
    return next(metric for metric in SCENARIOS[scenario].metrics if metric.key == key)


def _title(scenario: str, metric: Metric) -> str:
    whole = SCENARIOS[scenario]
    return whole.label if metric is whole.headline else metric.title


def _cell(figures: Mapping[str, Summary], key: str) -> str:
    if key not in figures:
        return ""
    summary = figures[key]
    spread = f"<br>({number(summary.smallest)} - {number(summary.largest)})" if summary.rounds > 1 else ""
    return number(summary.median) + spread


def _expectations(results: Results) -> str:
    words = {True: "met", False: "**missed**", None: "not measured"}
    lines = ["| expected | found | |", "| --- | --- | --- |"]
    for verdict in (bar.judge(results.summaries()) for bar in BARS):
        lines.append(f"| {verdict.title} | {verdict.found or ''} | {words[verdict.met]} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Prints or writes."""
    names = [word for word in sys.argv[1:] if not word.startswith("-")]
    if len(names) != 1:
        print(__doc__)
        return 2
    text = markdown(read(Path(names[0])))
    if "--write" in sys.argv:
        DOCUMENT.write_text(BLOCK.sub(lambda found: found[1] + text + found[2], DOCUMENT.read_text()))
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
