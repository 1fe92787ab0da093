"""A series of children that die as they start is told once."""

from __future__ import annotations

from umbel.worker.start_deaths import LIMIT, YOUNG, StartDeaths


def die(deaths: StartDeaths, child: int, age: float = 0.01, worked: bool = False) -> bool:
    deaths.born(child, 100.0 * child)
    return deaths.died(child, worked, 100.0 * child + age)


def test_a_series_is_told_once() -> None:
    deaths = StartDeaths()
    told = [die(deaths, child) for child in range(3 * LIMIT)]
    assert [child for child, tell in enumerate(told) if tell] == [LIMIT - 1]


def test_a_child_that_worked_or_lived_ends_a_series() -> None:
    for last in ({"worked": True}, {"age": YOUNG + 1}):
        deaths = StartDeaths()
        assert not any(die(deaths, child) for child in range(LIMIT - 1))
        assert not die(deaths, 50, **last)  # type: ignore[arg-type]
        told = [die(deaths, child) for child in range(100, 100 + LIMIT)]
        assert told == [False] * (LIMIT - 1) + [True]
