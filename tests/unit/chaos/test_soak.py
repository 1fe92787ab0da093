"""What the soak calls flat."""

from __future__ import annotations

import os

import pytest
from chaos.soak import Sampler, Series, proportional_size


def series(name: str, *values: float) -> Series:
    return Series(name, [5.0 * number for number in range(len(values))], values)


def test_a_steady_climb_is_not_flat() -> None:
    climbing = series("w1 main PSS MiB", *(20 + number / 10 for number in range(100)))
    assert climbing.growth == pytest.approx(4.9)
    assert not climbing.is_flat


def test_warming_up_and_noise_are_flat() -> None:
    assert series("w1 main PSS MiB", *([5.0, 12.0, 19.0] + [20.0, 20.6] * 30)).is_flat
    assert series("broker keys a result", *([0.1] * 20 + [1.15, 1.2] * 40)).is_flat


def test_keys_that_stay_are_not_flat() -> None:
    assert series("broker lasting keys", *([20.0, 31.0] * 50)).is_flat
    assert not series("broker lasting keys", *(20.0 + number / 2 for number in range(100))).is_flat


def test_results_are_counted_beside_the_tasks_they_are_of() -> None:
    sampler = Sampler(5.0)
    for minute, (finished, keys) in enumerate(
        [(0, 0), (9_000, 9_900), (15_000, 6_600), (24_000, 9_900), (33_000, 19_800)]
    ):
        sampler._results(keys, finished, 60.0 * minute)
    (found,) = sampler.series()
    # A slump is none; keys that should be gone are seen.
    assert list(found.values) == pytest.approx([1.1, 1.1, 1.1, 2.2])


def test_a_descriptor_more_each_minute_is_not_flat() -> None:
    leaking = series("w1 main fds", *(18 + number // 12 for number in range(120)))
    assert not leaking.is_flat


def test_shrinking_is_flat() -> None:
    assert series("broker file MiB", *(50.0 - number for number in range(40))).is_flat


def test_a_process_has_a_size() -> None:
    assert 1 < proportional_size(os.getpid()) < 10_000


def test_the_drawing_goes_up_with_the_values() -> None:
    line = series("w1 main fds", *range(1, 81)).line(8)
    assert len(line) == 8
    assert list(line) == sorted(line)
