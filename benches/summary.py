"""Statistics: percentiles of one measurement, medians and spread over the rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Median and tail. Raises ValueError for fewer than two values."""
    if len(values) < 2:
        raise ValueError("percentiles need two values at least")
    cuts = quantiles(values, n=100, method="inclusive")
    return {"p50": cuts[49], "p90": cuts[89], "p99": cuts[98]}


@dataclass(frozen=True)
class Summary:
    """Of the figures of all rounds."""

    median: float
    smallest: float
    largest: float
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Summary:
        """Raises ValueError without values."""
        if not values:
            raise ValueError("nothing was measured")
        return cls(median(values), min(values), max(values), len(values))


def advantage(ours: float, theirs: float, more_is_better: bool) -> float:
    """How many times better ours is: above 1 we win, below we lose. Infinite if theirs cannot be compared with."""
    better, worse = (ours, theirs) if more_is_better else (theirs, ours)
    if worse == 0:
        return 1.0 if better == 0 else float("inf")
    return better / worse
