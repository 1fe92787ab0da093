"""A bar chart for each scenario, all on one page."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from benches.peers import PEERS
from benches.results import Results
from benches.scenarios import SCENARIOS, Scenario

_COLUMNS = 3
_OURS, _THEIRS = "#c2571a", "#8795a1"
#: Bars whose lengths differ more than this are drawn on a logarithmic scale.
_LINEAR_UP_TO = 50


def draw(results: Results, path: Path) -> None:
    """Writes the page; the file's suffix says as what. Raises ImportError without matplotlib."""
    from matplotlib.figure import Figure  # Takes half a second: only where plots are drawn.

    summaries = {name: peers for name, peers in results.summaries().items() if peers}
    scenarios = [scenario for name, scenario in SCENARIOS.items() if name in summaries]
    rows = max(1, math.ceil(len(scenarios) / _COLUMNS))
    figure = Figure(figsize=(6.2 * _COLUMNS, 4.2 * rows), layout="constrained")
    axes = list(figure.subplots(rows, _COLUMNS, squeeze=False).flat)
    for axis in axes:
        axis.set_axis_off()
    for axis, scenario in zip(axes, scenarios, strict=False):
        _chart(axis, scenario, summaries[scenario.name])
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _chart(axis: Any, scenario: Scenario, peers: Any) -> None:
    metric = scenario.headline
    found = {name: figures[metric.key] for name, figures in peers.items() if metric.key in figures}
    ordered = sorted(found, key=lambda name: found[name].median, reverse=not metric.more)
    middles = [found[name].median for name in ordered]
    below = [found[name].median - found[name].smallest for name in ordered]
    above = [found[name].largest - found[name].median for name in ordered]
    axis.set_axis_on()
    axis.barh(
        ordered, middles, xerr=(below, above), capsize=2,
        color=[_OURS if PEERS[name].ours else _THEIRS for name in ordered],
    )  # fmt: skip
    if middles and min(middles) > 0 and max(middles) / min(middles) > _LINEAR_UP_TO:
        axis.set_xscale("log")
    axis.set_title(scenario.label, fontsize=10)
    axis.set_xlabel(f"{metric.title}, {metric.unit} ({'more' if metric.more else 'less'} is better)", fontsize=8)
    axis.tick_params(labelsize=8)
