"""What the soak calls flat."""

from __future__ import annotations

import os

import pytest
from chaos.soak import Series, proportional_size


def series(name: str, *values: float) -> Series:
    return Series(name, [5.0 * number for number in range(len(values))], values)


def test_a_steady_climb_is_not_flat() -> None:
    climbing = series("w1 main PSS MiB", *(20 + number / 10 for number in range(100)))
    assert climbing.growth == pytest.approx(4.9)
    assert not climbing.is_flat


def test_warming_up_and_noise_are_flat() -> None:
    assert series("w1 main PSS MiB", *([5.0, 12.0, 19.0] + [20.0, 20.6] * 30)).is_flat
    assert series("broker keys", *([100.0] * 20 + [9000.0, 9400.0] * 40)).is_flat


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
