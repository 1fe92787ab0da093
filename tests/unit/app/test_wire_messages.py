"""Messages of calls, beside what Celery 5.7 sent for the same calls (tests/wire/vectors)."""

from __future__ import annotations

import base64
import datetime
import decimal
import json
import pickle
import re
import uuid
from pathlib import Path
from typing import Any

import pytest

from umbel import Umbel, _native
from umbel.serialization.compression import decompress

VECTORS = Path(__file__).parents[2] / "wire" / "vectors"

#: Vectors whose recorded call is evaluated as it stands.
CALLS = [
    "argsrepr",
    "compression_bzip2",
    "compression_gzip",
    "compression_lzma",
    "compression_zlib",
    "compression_zstd",
    "countdown",
    "countdown_float",
    "custom_headers",
    "custom_task_id",
    "delay_kwargs",
    "delay_long_repr",
    "delay_noargs",
    "delay_simple",
    "delay_types",
    "eta_aware",
    "eta_naive",
    "expires_datetime",
    "expires_seconds",
    "extra_properties",
    "ignore_result",
    "keyprefix_priority_4",
    "localtz_countdown",
    "localtz_eta_naive",
    "oslo_utc_countdown",
    "oslo_utc_eta_naive",
    "priority_0",
    "priority_12",
    "priority_4",
    "priority_9",
    "queue_named",
    "reply_to",
    "retries_header",
    "root_parent",
    "send_task_by_name",
    "serializer_json",
    "serializer_msgpack",
    "serializer_msgpack_bytes",
    "serializer_pickle",
    "serializer_yaml",
    "shadow",
    "time_limits",
]

SIGNATURE = {"kwargs": {}, "options": {}, "subtask_type": None, "immutable": False}
ADD_10 = {"task": "wire.add", "args": [10], **SIGNATURE}
ON_ERROR = {"task": "wire.onerr", "args": [], **SIGNATURE}

#: Vectors whose call makes signatures, with the same signatures as plain dicts.
LINKED: dict[str, dict[str, Any]] = {
    "link": {"link": ADD_10},
    "link_error": {"link_error": ON_ERROR},
    "link_error_list": {"link_error": [ON_ERROR, {**ON_ERROR, "task": "wire.onerr_old"}]},
    "link_two_immutable": {"link": [ADD_10, {**ADD_10, "args": [1, 2], "immutable": True}]},
}

UTC = datetime.timezone.utc
#: What was sent as VALUES.
VALUES = {
    "none": None,
    "true": True,
    "int": 2**53 + 1,
    "big": 2**70,
    "float": 1.5,
    "unicode": "h\u00e9\u2603\U0001f40d",
    "nul": "\x00",
    "bytes_utf8": b"abc",
    "bytes_bin": b"\xff\x00\x80",
    "dt_naive": datetime.datetime(2026, 1, 2, 3, 4, 5, 678901),
    "dt_utc": datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    "dt_off": datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone(datetime.timedelta(hours=5, minutes=30))),
    "date": datetime.date(2026, 1, 2),
    "time": datetime.time(3, 4, 5, 6),
    "time_tz": datetime.time(3, 4, 5, tzinfo=UTC),
    "decimal": decimal.Decimal("1.10"),
    "decimal_nan": decimal.Decimal("NaN"),
    "uuid": uuid.UUID(int=1 << 100),
    "tuple": (1, (2, 3)),
    "list": [1, [2]],
    "dict": {"a": {"b": [1]}},
    "int_keys": {1: "one"},
}

SIMPLE = ((1, "a", 1.5, None, True, [1, {"k": "v"}]), {"b": "x"})
#: Vectors whose recorded text is not quite the call that was made.
ARGUMENTS: dict[str, tuple[Any, Any]] = {
    "serializer_json": SIMPLE,
    "serializer_msgpack": SIMPLE,
    "serializer_pickle": SIMPLE,
    "serializer_yaml": SIMPLE,
    "serializer_msgpack_bytes": ((b"\xff", b"abc", "txt"), {}),
}

SETTINGS = {
    "oslo": {"timezone": "Europe/Oslo"},
    "localtz": {"timezone": "Europe/Oslo", "enable_utc": False},
}

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?([+-]\d\d:\d\d)?")


class Recorder:
    """In place of the connection: keeps what would be published."""

    def __init__(self) -> None:
        self.messages: list[_native.MessageDict] = []

    def publish(self, messages: list[_native.MessageDict], timeout: float | None, patience: float | None) -> None:
        self.messages += messages


class RecordingApp(Umbel):
    @property
    def client(self) -> Any:
        return self.recorder

    recorder = Recorder()


def make_app(vector: str) -> RecordingApp:
    settings = SETTINGS.get(vector.partition("_")[0], {})
    app = RecordingApp("wire", broker="memory://", set_as_current=False, **settings)
    app.recorder = Recorder()

    @app.task(name="wire.add")
    def add(x: int, y: int) -> int:
        return x + y

    @app.task(name="wire.echo")
    def echo(*args: Any, **kwargs: Any) -> Any:
        return args, kwargs

    return app


def load(vector: str) -> dict[str, Any]:
    captured = json.loads((VECTORS / f"msg_{vector}.json").read_text())["captured"]
    found: dict[str, Any] = json.loads(captured["lists"][0]["raw"])
    return found


def send(vector: str) -> tuple[_native.MessageDict, str]:
    app = make_app(vector)
    call = json.loads((VECTORS / f"msg_{vector}.json").read_text())["call"]
    if vector in LINKED:
        result = app.tasks["wire.add"].apply_async((1, 1), **LINKED[vector])
    elif vector in ARGUMENTS:
        args, kwargs = ARGUMENTS[vector]
        result = app.tasks["wire.echo"].apply_async(args, kwargs, serializer=vector.split("_")[1])
    else:
        names = {"add": app.tasks["wire.add"], "echo": app.tasks["wire.echo"], "app": app, "datetime": datetime}
        result = eval(call, {**names, "VALUES": VALUES})
    (message,) = app.recorder.messages
    return message, result.id


def shape(moment: str | None) -> str | None:
    """A moment without its digits: what is left tells fractions and offset."""
    if moment is None:
        return None
    match = _MOMENT.fullmatch(moment)
    assert match is not None, moment
    return f"{'fraction' if match[1] else 'whole'} {match[2]}"


@pytest.mark.parametrize("vector", [*CALLS, *LINKED])
def test_headers(vector: str) -> None:
    theirs = load(vector)["headers"]
    message, task_id = send(vector)
    ours = dict(message["headers"])
    assert list(ours) == list(theirs)
    assert ours["id"] == task_id
    assert re.fullmatch(r"gen\d+@.+", str(ours["origin"]))
    own_id = theirs["id"]
    for name, value in theirs.items():
        if name == "origin" or (name == "id" and vector != "custom_task_id"):
            continue
        if name == "root_id" and value == own_id:
            assert ours[name] == task_id
        elif (name in ("eta", "expires") and "countdown" in vector) or vector.endswith("expires_seconds"):
            assert shape(ours[name]) == shape(value) if name in ("eta", "expires") else ours[name] == value
        else:
            assert ours[name] == value, name


@pytest.mark.parametrize("vector", [*CALLS, *LINKED])
def test_properties_and_destination(vector: str) -> None:
    theirs = dict(load(vector)["properties"])
    message, task_id = send(vector)
    ours = dict(message["properties"])
    info = theirs.pop("delivery_info")
    ours.pop("user_id", None)  # kombu keeps it from Redis.
    # The last two are options of Celery's that leak.
    for name in ("delivery_tag", "body_encoding", "argsrepr", "kwargsrepr"):
        theirs.pop(name, None)
    assert {"exchange": message["exchange"], "routing_key": message["routing_key"]} == info
    if vector not in ("reply_to", "custom_task_id"):
        theirs["correlation_id"] = task_id
    if vector != "reply_to":
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", str(ours["reply_to"]))
        theirs["reply_to"] = ours["reply_to"]
    if "expires" in vector and "seconds" not in vector:
        assert abs(int(str(ours.pop("expiration"))) - int(theirs.pop("expiration"))) < 10 * 365 * 86400_000
    assert ours == theirs


@pytest.mark.parametrize("vector", [*CALLS, *LINKED])
def test_body(vector: str) -> None:
    recorded = load(vector)
    message, _ = send(vector)
    assert message["content_type"] == recorded["content-type"]
    assert message["content_encoding"] == recorded["content-encoding"]
    theirs = base64.b64decode(recorded["body"])
    method = dict(message["headers"]).get("compression")
    if method is not None:
        assert decompress(message["body"], str(method)) == decompress(theirs, str(method))
    elif vector == "serializer_pickle":
        assert pickle.loads(message["body"]) == pickle.loads(theirs)
    else:
        assert message["body"] == theirs


def test_due() -> None:
    message, _ = send("eta_aware")
    assert message["eta"] == datetime.datetime.fromisoformat("2030-01-02T03:04:05.006+02:00").timestamp()
    message, _ = send("oslo_utc_eta_naive")
    assert message["eta"] == datetime.datetime.fromisoformat("2030-01-02T03:04:05+01:00").timestamp()
    message, _ = send("delay_simple")
    assert "eta" not in message
