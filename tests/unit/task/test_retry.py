"""Backoff, and the arguments of a retry."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umbel.task import Context
from umbel.task.retry import backoff_interval, merged_arguments


@pytest.mark.parametrize(("retries", "expected"), [(0, 2), (1, 4), (4, 32), (8, 512), (9, 600), (10_000, 600)])
def test_backoff_doubles_up_to_the_maximum(retries: int, expected: float) -> None:
    assert backoff_interval(2, retries, 600, full_jitter=False) == expected


@given(st.integers(0, 100), st.floats(1, 100))
def test_jitter_is_anything_below(retries: int, factor: float) -> None:
    most = backoff_interval(factor, retries, 600, full_jitter=False)
    assert 0 <= backoff_interval(factor, retries, 600, full_jitter=True) <= most


def run(a: Any, b: Any = 2, *, k: Any = None) -> None: ...


REQUEST = Context(args=[1, 5], kwargs={"k": 7})


@pytest.mark.parametrize(
    ("args", "kwargs", "expected"),
    [
        (None, None, ([1, 5], {"k": 7})),
        ((9, 9), {}, ((9, 9), {})),
        ((9, 9), None, ((9, 9), {"k": 7})),
        (None, {"k": 8}, ((1, 5), {"k": 8})),
        (None, {"b": 8}, ((1, 8), {})),
    ],
)
def test_what_is_not_replaced_is_kept(args: Any, kwargs: Any, expected: Any) -> None:
    assert merged_arguments(run, REQUEST, args, kwargs) == expected


def test_a_parameter_is_not_given_twice() -> None:
    request = Context(args=[], kwargs={"a": 1, "b": 2, "k": 3})
    assert merged_arguments(run, request, (9,), None) == ((9,), {"b": 2, "k": 3})
