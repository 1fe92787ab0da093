"""Expectations of a full run."""

from __future__ import annotations

import pytest
from benches.bars import BARS, Bar, figure, ratio, to_best_rival
from benches.summary import Summary


def table(scenario: str, metric: str, **medians: float) -> dict[str, dict[str, dict[str, Summary]]]:
    peers = {peer.replace("_", "-"): {metric: Summary(value, value, value, 1)} for peer, value in medians.items()}
    return {scenario: peers}


def test_bounds_from_below_and_above() -> None:
    found = table("drain", "per_second", umbel_prefork=250.0, celery_prefork=10.0)
    times = ratio("drain", "umbel-prefork", "celery-prefork")
    assert Bar("", times, 25).judge(found).met
    assert not Bar("", times, 25.1).judge(found).met
    assert not Bar("", times, 24.9, most=True).judge(found).met
    assert Bar("", times, 25, most=True).judge(found).met


def test_the_best_rival_is_the_fastest_of_all_that_are_not_ours() -> None:
    ahead = to_best_rival("round-trip", "umbel-prefork")
    found = table("round-trip", "p50", umbel_prefork=0.6, umbel_threads=0.1, huey=0.8, cauli=1.2)
    assert ahead(found) == pytest.approx(0.75)
    rate = to_best_rival("drain", "umbel-prefork")
    assert rate(table("drain", "per_second", umbel_prefork=8.0, huey=2.0, cauli=4.0)) == 2.0


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    for found in ({}, table("drain", "per_second", umbel_prefork=1.0)):
        verdict = Bar("", ratio("drain", "umbel-prefork", "cauli"), 1).judge(found)
        assert (verdict.found, verdict.met) == (None, None)
    verdict = Bar("", to_best_rival("drain", "umbel-prefork"), 1).judge(table("drain", "per_second", umbel_prefork=1.0))
    assert verdict.met is None


def test_every_bar_can_be_judged_by_what_the_scenarios_yield() -> None:
    """A bar that names a figure nobody takes would never be judged."""
    from benches.peers import PEERS
    from benches.scenarios import SCENARIOS

    everything = {
        name: {peer: {metric.key: Summary(1.0, 1.0, 1.0, 1) for metric in scenario.metrics} for peer in PEERS}
        for name, scenario in SCENARIOS.items()
    }
    assert all(bar.judge(everything).met is not None for bar in BARS)
    assert figure("footprint", "rq", "idle_cpu")(everything) == 1.0
