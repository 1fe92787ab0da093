"""Statistics of the benchmarks."""

from __future__ import annotations

import pytest
from benches.summary import Summary, advantage, percentiles


def test_percentiles() -> None:
    assert percentiles([float(value) for value in range(101)]) == {"p50": 50.0, "p90": 90.0, "p99": 99.0}
    with pytest.raises(ValueError, match="two values"):
        percentiles([1.0])


def test_summary() -> None:
    assert Summary.of([3.0, 1.0, 8.0]) == Summary(median=3.0, smallest=1.0, largest=8.0, rounds=3)
    with pytest.raises(ValueError, match="nothing"):
        Summary.of([])


@pytest.mark.parametrize(
    ("ours", "theirs", "more", "times"),
    [(8.0, 2.0, True, 4.0), (2.0, 8.0, True, 0.25), (2.0, 8.0, False, 4.0), (8.0, 2.0, False, 0.25)],
)
def test_advantage(ours: float, theirs: float, more: bool, times: float) -> None:
    assert advantage(ours, theirs, more) == times


def test_advantage_over_nothing() -> None:
    assert advantage(1.0, 0.0, more_is_better=True) == float("inf")
    assert advantage(0.0, 1.0, more_is_better=False) == float("inf")
    assert advantage(0.0, 0.0, more_is_better=True) == 1.0
