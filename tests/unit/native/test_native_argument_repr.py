"""`argsrepr` and `kwargsrepr`: Celery's `saferepr`."""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

import pytest
from celery.utils.saferepr import saferepr
from hypothesis import assume, given
from hypothesis import strategies as st
from json_values import values

from umbel._native import argument_repr

TYPICAL: list[Any] = [
    (),
    (2, 3),
    (1,),
    ("it's", 'a "quote"', "line\nbreak", b"bytes", b"\xff\x00", b""),
    (None, True, 1.5, 1j, Fraction(1, 3), Decimal("1.10"), range(3)),
    (UUID(int=1), datetime(2026, 1, 2), object),
    {"key": [1, 2, {"deep": [1, {"deeper": 1}]}]},
    [[[[[]]]]],
    [[[[[1]], (2,)], {"a": {}}]],
    {1: {2: {3: {4: 5}}}},
    {(1, 2): {3}, "x": frozenset({4}), "e": set(), "f": frozenset()},
    OrderedDict(a=1),
    ("x" * 5000,),
    ("many words " * 200, 1, 2),
    list(range(2000)),
    [["a" * 300] * 5] * 5,
    {f"key{number}": "v" * 50 for number in range(100)},
    [b"\xff" * 2000],
    [b"a" * 2000, 1],
    {"a" * 2000: 1},
    [[[["x" * 1019]]], 1, [2]],
]


@pytest.mark.parametrize("value", TYPICAL, ids=lambda value: repr(value)[:30])
def test_typical_values_print_as_in_celery(value: Any) -> None:
    assert argument_repr(value, {}) == (saferepr(value, 1024), "{}")


@given(values)
def test_any_value_prints_as_in_celery(value: Any) -> None:
    printed = saferepr(value, 1024)
    assume(not any(0xD800 <= ord(letter) < 0xE000 for letter in printed))
    assert argument_repr(value, value) == (printed,) * 2


@pytest.mark.parametrize(("value", "printed"), [("a\ud800", "'a\\ud800'"), ({"\udfff": None}, "{'\\udfff': None}")])
def test_lone_surrogates_are_escaped(value: Any, printed: str) -> None:
    assert argument_repr(value, {})[0] == printed


@given(st.lists(st.text(max_size=400) | st.lists(st.text(max_size=400), max_size=4), max_size=10))
def test_long_values_are_cut_as_in_celery(value: Any) -> None:
    assert argument_repr(value, {})[0] == saferepr(value, 1024)


def test_a_value_that_contains_itself() -> None:
    value: list[Any] = [1]
    value.append(value)
    assert argument_repr(value, {})[0] == saferepr(value, 1024)


def test_a_value_that_cannot_be_printed() -> None:
    class Silent:
        def __repr__(self) -> str:
            raise LookupError("no words")

    printed, _ = argument_repr((Silent(), 1), {})
    assert printed.startswith("(<Unrepresentable ")
    assert printed.endswith("LookupError('no words')>, 1)")
