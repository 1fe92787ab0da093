"""Serializers."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from umbel import register_type, serialization
from umbel.exceptions import (
    ContentDisallowed,
    DecodeError,
    EncodeError,
    ImproperlyConfigured,
    SerializerNotInstalled,
)

VALUE = {"a": [1, 2.5, None, True, "é"], "b": {"c": "d"}}


@pytest.mark.parametrize(
    ("name", "content_type", "content_encoding"),
    [
        ("json", "application/json", "utf-8"),
        ("pickle", "application/x-python-serialize", "binary"),
        ("yaml", "application/x-yaml", "utf-8"),
        ("msgpack", "application/x-msgpack", "binary"),
        ("cloudpickle", "application/x-cloudpickle", "binary"),
    ],
)
def test_round_trip(name: str, content_type: str, content_encoding: str) -> None:
    found = serialization.dumps(VALUE, name)
    assert found[:2] == (content_type, content_encoding)
    assert serialization.loads(found[2], content_type, content_encoding, frozenset([content_type])) == VALUE


@pytest.mark.parametrize("name", ["json", "pickle", "yaml", "msgpack"])
def test_kombu_reads_ours_and_we_read_kombus(name: str) -> None:
    kombu = pytest.importorskip("kombu.serialization")
    content_type, content_encoding, data = serialization.dumps(VALUE, name)
    assert kombu.loads(data, content_type, content_encoding, accept=[content_type]) == VALUE
    content_type, content_encoding, data = kombu.dumps(VALUE, serializer=name)
    data = data.encode() if isinstance(data, str) else data
    assert serialization.loads(data, content_type, content_encoding, serialization.accepted([name])) == VALUE


@pytest.mark.parametrize("name", ["json", "yaml", "msgpack", "pickle"])
def test_what_cannot_be_written(name: str) -> None:
    with pytest.raises(EncodeError):
        serialization.dumps(lambda: None, name)


@pytest.mark.parametrize("name", ["json", "msgpack", "pickle", "yaml"])
def test_what_cannot_be_read(name: str) -> None:
    content_type = serialization.by_name(name).content_type
    with pytest.raises(DecodeError):
        serialization.loads(b"\xc1{[", content_type, None, frozenset([content_type]))


def test_what_is_not_accepted() -> None:
    with pytest.raises(ContentDisallowed, match=r"pickle.*accept_content"):
        serialization.loads(b"", "application/x-python-serialize", None, serialization.accepted(["json"]))
    with pytest.raises(ContentDisallowed, match="application/x-other"):
        serialization.loads(b"", "application/x-other", None, serialization.accepted(["json"]))


def test_names_and_content_types_are_accepted() -> None:
    assert serialization.accepted(["json", "application/x-yaml", "application/x-unheard-of"]) == {
        "application/json",
        "application/x-yaml",
        "application/x-unheard-of",
    }
    with pytest.raises(ImproperlyConfigured, match="jsn"):
        serialization.accepted(["jsn"])
    with pytest.raises(SerializerNotInstalled, match=r"known: .*json"):
        serialization.by_name("jsn")


@pytest.fixture
def upper() -> Iterator[str]:
    serialization.register("upper", lambda value: value.upper(), lambda text: text.lower(), "application/x-upper")
    yield "upper"
    serialization.unregister("upper")


def test_a_serializer_of_ones_own(upper: str) -> None:
    content_type, content_encoding, data = serialization.dumps("é", upper)
    assert (content_type, content_encoding, data) == ("application/x-upper", "utf-8", "É".encode())
    assert serialization.loads(data, content_type, content_encoding, frozenset([content_type])) == "é"
    latin = "É".encode("latin-1")
    assert serialization.loads(latin, content_type, "latin-1", frozenset([content_type])) == "é"


class Point:
    def __init__(self, x: int, y: int) -> None:
        self.x, self.y = x, y


class Like:
    def __json__(self) -> dict[str, Any]:
        return {"like": Decimal("1.5")}


def test_types_of_ones_own_in_json() -> None:
    register_type(Point, "point", lambda point: [point.x, point.y], lambda value: Point(*value))
    _, _, data = serialization.dumps({"at": Point(1, 2)}, "json")
    assert data == b'{"at": {"__type__": "point", "__value__": [1, 2]}}'
    found = serialization.by_name("json").loads(data)["at"]
    assert (found.x, found.y) == (1, 2)


def test_json_method_and_unknown_markers() -> None:
    _, _, data = serialization.dumps(Like(), "json")
    assert serialization.by_name("json").loads(data) == {"like": Decimal("1.5")}
    with pytest.raises(DecodeError, match="unheard"):
        serialization.by_name("json").loads(b'{"__type__": "unheard", "__value__": 1}')
