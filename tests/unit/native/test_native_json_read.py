"""JSON to Python objects: what kombu's decoder makes of it."""

from __future__ import annotations

import json
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from json_values import values
from kombu.utils import json as kombu_json

from umbel._native import MalformedError, json_dumps, json_loads, set_json_fallback


@given(values)
def test_objects_are_those_of_kombu(value: Any) -> None:
    written = kombu_json.dumps(value)
    # `repr` compares types too, and NaN with NaN.
    assert repr(json_loads(written)) == repr(kombu_json.loads(written))
    assert repr(json_loads(written.encode())) == repr(kombu_json.loads(written))


@given(values)
def test_what_was_written_is_read(value: Any) -> None:
    assert repr(json_loads(json_dumps(value))) == repr(kombu_json.loads(kombu_json.dumps(value)))


@given(st.text() | st.binary())
def test_any_input_is_a_value_or_malformed(data: str | bytes) -> None:
    try:
        expected = repr(json.loads(data if isinstance(data, str) else data.decode()))
    except ValueError:
        with pytest.raises(MalformedError):
            json_loads(data)
    else:
        assert repr(json_loads(data)) == expected


EXTENDED = {
    '{"__type__": "datetime", "__value__": "2026-01-02T03:04:05+00:00"}': datetime(
        2026, 1, 2, 3, 4, 5, 0, timezone.utc
    ),
    '{"__value__": "2026-01-02", "__type__": "date"}': date(2026, 1, 2),
    '{"__type__": "date", "__value__": "2026-01-02T03:04:05"}': date(2026, 1, 2),
    '{"__type__": "time", "__value__": "03:04:05.000006"}': time(3, 4, 5, 6),
    '{"__type__": "decimal", "__value__": "1.10"}': Decimal("1.10"),
    '{"__type__": "uuid", "__value__": {"hex": "00000010000000000000000000000000"}}': UUID(int=0x10 << 96),
    '{"__type__": "bytes", "__value__": "\\u00e4"}': "ä".encode(),
    '{"__type__": "base64", "__value__": "/wCA"}': b"\xff\x00\x80",
    '{"__type__": "x", "__type__": "bytes", "__value__": "a"}': b"a",
    '{"__type__": "bytes", "__value__": "a", "more": 1}': {"__type__": "bytes", "__value__": "a", "more": 1},
    '{"__type__": "bytes"}': {"__type__": "bytes"},
    '{"a": {"__type__": "decimal", "__value__": "1"}}': {"a": Decimal(1)},
}


@pytest.mark.parametrize(("text", "value"), EXTENDED.items())
def test_extended_types(text: str, value: object) -> None:
    assert json_loads(text) == value == kombu_json.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"__type__": "datetime", "__value__": 5}',
        '{"__type__": "datetime", "__value__": "yesterday"}',
        '{"__type__": "decimal", "__value__": "ten"}',
        '{"__type__": "uuid", "__value__": "x"}',
        '{"__type__": "uuid", "__value__": {"other": 1}}',
        '{"__type__": "bytes", "__value__": null}',
        '{"__type__": "base64", "__value__": "a"}',
        '{"__type__": "nobody", "__value__": 1}',
        '{"__type__": [], "__value__": 1}',
    ],
)
def test_extended_types_that_are_wrong_are_malformed_with_their_cause(text: str) -> None:
    with pytest.raises(MalformedError, match="extended JSON type") as caught:
        json_loads(text)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("data", [b"\xff", "\ud800", "", "[1,]", "{'a': 1}", "nul", "01", "1 2", '"\t"', "[" * 3000])
def test_what_is_no_json_is_malformed(data: str | bytes) -> None:
    with pytest.raises(MalformedError):
        json_loads(data)


def test_surrogates_survive() -> None:
    assert json_loads(r'["\ud800", {"\udc00": 1}]') == ["\ud800", {"\udc00": 1}]
    assert json_loads(r'"\ud83d\ude00"') == "\U0001f600"


def test_any_buffer_is_read() -> None:
    assert json_loads(bytearray(b"[1]")) == json_loads(memoryview(b"[1]")) == [1]  # type: ignore[arg-type]


def test_other_arguments_are_a_type_error() -> None:
    with pytest.raises(TypeError):
        json_loads(None)  # type: ignore[arg-type]


def test_the_hook_reads_unknown_types(json_hooks: None) -> None:
    set_json_fallback(None, lambda name, value: timedelta(seconds=value) if name == "timedelta" else None)
    assert json_loads('[{"__type__": "timedelta", "__value__": 1.5}]') == [timedelta(seconds=1.5)]


def test_a_hook_may_read_json_itself(json_hooks: None) -> None:
    set_json_fallback(None, lambda name, value: json_loads(value))
    assert json_loads('{"__type__": "json", "__value__": "{\\"a\\": [1]}"}') == {"a": [1]}


def test_what_must_not_be_caught_passes_through_a_hook(json_hooks: None) -> None:
    def interrupt(name: str, value: object) -> object:
        raise KeyboardInterrupt

    set_json_fallback(None, interrupt)
    with pytest.raises(KeyboardInterrupt):
        json_loads('{"__type__": "x", "__value__": 1}')


def test_the_last_of_equal_names_wins_and_order_is_kept() -> None:
    assert list(json_loads('{"b": 1, "a": 2, "b": 3}').items()) == [("b", 3), ("a", 2)]


def test_many_different_names_do_not_mix() -> None:
    names = [f"name{number}" for number in range(5000)]
    assert list(json_loads(json_dumps(dict.fromkeys(names)))) == names
