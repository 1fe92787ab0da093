"""What a run prints: circumstances, a table for each scenario, failures, bars."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benches.bars import BARS
from benches.peers import ABSENT, PEERS, REFERENCE
from benches.results import Results
from benches.scenarios import SCENARIOS, Metric, Scenario
from benches.summary import Summary, advantage

_WIN, _LOSS = "green", "red"
#: Ours, whose lead over each peer is a column: on the broker that the others use.
_OURS = [peer.name for peer in PEERS.values() if peer.ours and peer.store == "redis"]

Peers = Mapping[str, Mapping[str, Summary]]


def print_circumstances(console: Console, results: Results) -> None:
    """Machine, versions, settings."""
    found = results.circumstances
    table = Table("", "", title="circumstances", show_header=False)
    for name in ("machine", "redis", "run", "proxy"):
        if found.get(name):
            table.add_row(name, "\n".join(f"{key}: {value}" for key, value in found[name].items()))
    console.print(table)
    if found["machine"]["load_before"] > 0.5 * found["machine"]["cpus"]:
        console.print(f"[{_LOSS}]Other programs are at work on this machine: do not trust these figures.[/]")
    peers = Table("peer", "versions", "settings", title="peers, each as its documentation sets it up")
    for name, details in found["peers"].items():
        if details["versions"] is None:
            peers.add_row(name, "not installed", details["absent"])
        else:
            shown = ", ".join(f"{key} {value}" for key, value in details["versions"].items())
            peers.add_row(name, shown, "; ".join(f"{key}: {value}" for key, value in details["settings"].items()))
    for name, why in ABSENT.items():
        peers.add_row(name, "not installed", why)
    console.print(peers)


def print_figures(console: Console, results: Results) -> None:
    """A table for each scenario that was measured."""
    summaries = results.summaries()
    for name, scenario in SCENARIOS.items():
        if name in summaries:
            console.print(scenario_table(scenario, summaries[name]))


def scenario_table(scenario: Scenario, peers: Peers) -> Table:
    """Medians, with smallest and largest; the headline also in proportion to the reference's and to ours."""
    headline = scenario.headline
    ours = [name for name in _OURS if headline.key in peers.get(name, {})]
    table = Table(title=scenario.title, title_justify="left", title_style="bold")
    table.add_column("peer")
    for metric in scenario.metrics:
        table.add_column(f"{metric.title}\n{metric.unit}", justify="right")
    table.add_column(f"to\n{REFERENCE}", justify="right")
    for name in ours:
        table.add_column(f"lead of\n{name}", justify="right")
    for name, figures in peers.items():
        cells: list[str | Text] = [_cell(metric, figures.get(metric.key)) for metric in scenario.metrics]
        cells.append(_proportion(headline, figures, peers.get(REFERENCE, {})))
        cells += [_lead(headline, peers[own], figures, name) for own in ours]
        table.add_row(name, *cells)
    return table


def number(value: float) -> str:
    """With three or four digits that mean something."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def _cell(metric: Metric, summary: Summary | None) -> str:
    if summary is None:
        return ""
    if summary.rounds == 1:
        return number(summary.median)
    return f"{number(summary.median)}\n({number(summary.smallest)} - {number(summary.largest)})"


def _proportion(metric: Metric, figures: Mapping[str, Summary], reference: Mapping[str, Summary]) -> str:
    if metric.key not in figures or metric.key not in reference or not reference[metric.key].median:
        return ""
    return f"{number(figures[metric.key].median / reference[metric.key].median)} x"


def _lead(metric: Metric, ours: Mapping[str, Summary], theirs: Mapping[str, Summary], name: str) -> Text:
    """How many times better ours is: green where it wins, red where it loses."""
    if PEERS[name].ours or metric.key not in theirs:
        return Text("")
    lead = advantage(ours[metric.key].median, theirs[metric.key].median, metric.more)
    return Text(f"{number(lead)} x", style=_WIN if lead >= 1 else _LOSS)


def print_failures(console: Console, results: Results) -> None:
    """Who has no figures, why, and the ends of their logs."""
    for (peer, measurement), failure in results.failures.items():
        console.print(f"[{_LOSS}]{peer} failed at {measurement}[/]: ", end="")
        console.print(failure.reason, markup=False, highlight=False)
        if failure.log:
            console.print(failure.log, markup=False, highlight=False)


def print_bars(console: Console, results: Results) -> None:
    """What was expected, what was found."""
    summaries = results.summaries()
    verdicts = [bar.judge(summaries) for bar in BARS]
    if all(verdict.met is None for verdict in verdicts):
        return
    table = Table("expected", "found", "", title="expectations")
    for verdict in verdicts:
        if verdict.met is None:
            table.add_row(verdict.title, "", "not measured")
        else:
            word, style = ("met", _WIN) if verdict.met else ("missed", _LOSS)
            table.add_row(verdict.title, verdict.found, Text(word, style=style))
    console.print(table)
