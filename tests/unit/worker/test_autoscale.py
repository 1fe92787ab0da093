"""How many processes there should be."""

from __future__ import annotations

import pytest

from umbel.exceptions import ImproperlyConfigured
from umbel.worker.autoscale import Autoscaler, Load, make_autoscaler, read_bounds


class Doubting(Autoscaler):
    """A user's own."""


def load(processes: int, running: int, waiting: int = 0, more: bool = False, each: int = 1) -> Load:
    return Load(processes, processes * each, running, waiting, more)


@pytest.mark.parametrize(("size", "now", "wanted"), [
    (1, load(1, 1), 1),                              # busy, and nothing waits
    (1, load(1, 0, more=True), 1),                   # there is room
    (1, load(1, 1, more=True), 2),                   # nothing here, maybe more there
    (1, load(1, 1, waiting=50), 2),                  # at most to twice its size
    (4, load(4, 4, waiting=2), 6),                   # no more than what waits
    (4, load(4, 4, waiting=50), 8),
    (8, load(8, 8, waiting=50), 10),                 # nor than it may
    (4, load(2, 2, waiting=50), 4),                  # the last ones are still on their way
    (1, load(1, 100, waiting=150, each=100), 2),     # a process runs a hundred
    (2, load(2, 199, waiting=1, each=100), 2),
    (1, load(0, 0, more=True), 1),                   # none has come yet
])  # fmt: skip
def test_growing(size: int, now: Load, wanted: int) -> None:
    assert Autoscaler(10, 1).size(size, now, 0.0) == wanted


def test_shrinking_to_the_most_that_was_needed() -> None:
    scaler = Autoscaler(10, 2, keepalive=30)
    assert scaler.size(8, load(8, 3), 100.0) == 8
    assert scaler.size(8, load(8, 5), 115.0) == 8
    assert scaler.size(8, load(8, 0), 129.0) == 8
    assert scaler.size(8, load(8, 0), 130.0) == 5
    assert scaler.size(5, load(5, 0), 131.0) == 5
    assert scaler.size(5, load(5, 0), 161.0) == 2
    assert scaler.size(2, load(2, 0), 162.0) == 2
    assert scaler.size(2, load(2, 0), 192.0) == 2


def test_a_pool_that_was_full_a_moment_ago_stays() -> None:
    scaler = Autoscaler(10, 1, keepalive=30)
    assert scaler.size(4, load(4, 0), 0.0) == 4
    assert scaler.size(4, load(4, 4, waiting=4), 29.0) == 8
    assert scaler.size(8, load(8, 0), 31.0) == 8
    assert scaler.size(8, load(8, 0), 60.0) == 8
    assert scaler.size(8, load(8, 0), 61.0) == 1


@pytest.mark.parametrize(("text", "bounds"), [("10,3", (10, 3)), ("10", (10, 1)), ("4,0", (4, 1))])
def test_bounds(text: str, bounds: tuple[int, int]) -> None:
    assert read_bounds(text) == bounds


@pytest.mark.parametrize("text", ["", "many", "1,2,3", "3,few"])
def test_bounds_that_are_none(text: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="--autoscale takes"):
        read_bounds(text)


@pytest.mark.parametrize("bounds", [(0, 0), (1, 2), (3, 0)])
def test_bounds_the_wrong_way_round(bounds: tuple[int, int]) -> None:
    with pytest.raises(ImproperlyConfigured, match="--autoscale takes"):
        Autoscaler(*bounds)


def test_the_class_is_a_setting() -> None:
    assert type(make_autoscaler("celery.worker.autoscale:Autoscaler", 2, 1)) is Autoscaler
    assert type(make_autoscaler("umbel.worker.autoscale:Autoscaler", 2, 1)) is Autoscaler
    own = make_autoscaler(f"{Doubting.__module__}.Doubting", 2, 1)
    assert type(own).__name__ == "Doubting"
    for wrong in ("nowhere:Class", "umbel.worker.autoscale:Load", "umbel.worker.autoscale:Nobody", "Autoscaler"):
        with pytest.raises(ImproperlyConfigured, match="autoscaler"):
            make_autoscaler(wrong, 2, 1)
