"""Python objects to JSON: the bytes of `json.dumps` with kombu's encoder."""

from __future__ import annotations

import enum
import json
import re
from collections import Counter, OrderedDict, defaultdict, namedtuple
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from json_values import values
from kombu.utils import json as kombu_json

from umbel._native import json_dumps, set_json_fallback


class Text(str):
    def __str__(self) -> str:
        return "never asked for"


class Whole(int):
    def __repr__(self) -> str:
        return "never asked for"


class Real(float):
    def __repr__(self) -> str:
        return "never asked for"


class Level(enum.IntEnum):
    HIGH = 3


class Color(str, enum.Enum):
    RED = "red"


class Backwards(dict):  # type: ignore[type-arg]
    def items(self) -> Any:
        return reversed(list(super().items()))


class Moment(datetime):
    def isoformat(self, *_: object, **__: object) -> str:
        return "never asked for"


class AsJson:
    def __json__(self) -> object:
        return {"point": (1, 2)}


Point = namedtuple("Point", "x y")

UNUSUAL = [
    Text("täxt"),
    Whole(7),
    Whole(2**80),
    Real(1.5),
    Real("nan"),
    Level.HIGH,
    Color.RED,
    Backwards(a=1, b=2),
    Backwards(),
    OrderedDict(b=1, a=2),
    defaultdict(list, a=[1]),
    Counter("aab"),
    Point(1, 2),
    Moment(2026, 1, 2, tzinfo=timezone.utc),
    AsJson(),
    [AsJson(), AsJson()],
    {Text("k"): 1, Whole(2): 2, Real(2.5): 3, Level.HIGH: 4, Color.RED: 5, 2**70: 6, float("inf"): 7},
    "\ud800 alone",
    "\ud800\udc00 as two code points",
    {"\udfff": "\ud800"},
    '\x00\x1f\x7f\x80\u2028\U0001f600"\\/',
    b"",
    b"\xff",
    Decimal("NaN"),
    -0.0,
    1e16,
    1e-7,
    5e-324,
    1.7976931348623157e308,
    2**63,
    -(2**63),
    -(2**63) - 1,
]


def _name(value: object) -> str:
    """The same in every process that collects the tests."""
    return re.sub(r" at 0x\w+", "", repr(value))


@given(values)
def test_bytes_are_those_of_kombu(value: Any) -> None:
    assert json_dumps(value) == kombu_json.dumps(value).encode()


@pytest.mark.parametrize("value", UNUSUAL, ids=_name)
def test_unusual_values_too(value: Any) -> None:
    assert json_dumps(value) == kombu_json.dumps(value).encode()


@given(st.lists(st.floats(), min_size=10, max_size=10))
def test_floats_are_written_like_repr(numbers: list[float]) -> None:
    assert json_dumps(numbers) == json.dumps(numbers).encode()


@pytest.mark.parametrize("value", [{1, 2}, 1j, object(), bytearray(b"a"), int, Exception("x"), [{"a": {1}}]], ids=_name)
def test_what_json_cannot_hold_is_a_type_error(value: object, json_hooks: None) -> None:
    set_json_fallback(None, None)
    inner = value[0]["a"] if isinstance(value, list) else value
    with pytest.raises(TypeError, match=f"Object of type {type(inner).__name__} is not JSON serializable"):
        json_dumps(value)


def test_keys_must_be_scalars() -> None:
    with pytest.raises(TypeError, match="keys must be str, int, float, bool or None, not tuple"):
        json_dumps({(1, 2): 3})


def test_an_int_too_long_for_python_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="4300"):
        json_dumps(10**5000)


def circles() -> list[object]:
    alone: list[object] = []
    alone.append(alone)
    through: dict[str, object] = {}
    through["a"] = [(through,)]

    class Endless:
        def __json__(self) -> object:
            return [self]

    return [alone, through, Endless()]


@pytest.mark.parametrize("value", circles(), ids=["list", "dict", "__json__"])
def test_circles_are_a_value_error(value: object) -> None:
    with pytest.raises(ValueError, match="Circular reference detected"):
        json_dumps(value)


def test_depth_has_a_limit() -> None:
    def nested(levels: int) -> list[Any]:
        value: list[Any] = []
        for _ in range(levels - 1):
            value = [value]
        return value

    assert json_dumps(nested(900)) == b"[" * 900 + b"]" * 900
    with pytest.raises(ValueError, match="nested deeper than"):
        json_dumps(nested(5000))


def test_the_same_value_twice_is_no_circle() -> None:
    shared = {"a": [1]}
    assert json_dumps([shared, shared]) == b'[{"a": [1]}, {"a": [1]}]'


def test_the_hook_is_asked_for_unknown_types(json_hooks: None) -> None:
    set_json_fallback(lambda value: {"__type__": "complex", "__value__": [value.real, value.imag]}, None)
    assert json_dumps([1j]) == b'[{"__type__": "complex", "__value__": [0.0, 1.0]}]'


def test_what_the_hook_raises_comes_out(json_hooks: None) -> None:
    def refuse(value: object) -> object:
        raise LookupError("no")

    set_json_fallback(refuse, None)
    with pytest.raises(LookupError, match="no"):
        json_dumps({1})


def test_a_dict_changed_by_a_hook_meanwhile_is_noticed() -> None:
    class Meddler:
        def __json__(self) -> object:
            victim["more"] = 1
            return 0

    victim: dict[str, object] = {"a": Meddler(), "b": 1}
    with pytest.raises(RuntimeError, match="changed size"):
        json_dumps(victim)


def test_a_list_changed_by_a_hook_meanwhile_is_no_danger() -> None:
    class Shrinker:
        def __json__(self) -> object:
            victim.clear()
            return 0

    victim: list[object] = [Shrinker(), 1, 2]
    assert json_dumps(victim) == b"[0]"
