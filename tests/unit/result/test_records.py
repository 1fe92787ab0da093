"""Records, beside Celery's own (tests/wire/vectors)."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from umbel import Umbel, exceptions
from umbel.exceptions import ContentDisallowed, DecodeError, EncodeError, ImproperlyConfigured
from umbel.result.records import RecordFormat
from umbel.task import Context

VECTORS = Path(__file__).parents[2] / "wire" / "vectors"
TEST_ID = "tid-1"


def record_format(**settings: Any) -> RecordFormat:
    return RecordFormat(Umbel("wire", broker="memory://", set_as_current=False, **settings))


def values(vector: str) -> Iterator[tuple[str, bytes]]:
    """Keys and values of all result records in a recording."""
    found: list[tuple[str, bytes]] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                if key.startswith(("celery-task-meta", "pre_celery-task-meta")) and isinstance(item, dict):
                    found.append((key, as_bytes(item.get("value", item.get("raw")))))
                else:
                    walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)

    walk(json.loads((VECTORS / f"{vector}.json").read_text())["captured"])
    return iter(found)


def as_bytes(value: Any) -> bytes:
    return base64.b64decode(value["base64"]) if isinstance(value, dict) else str(value).encode()


RUNS = sorted(path.stem for path in VECTORS.glob("run_*.json"))


@pytest.mark.parametrize("vector", RUNS)
def test_every_record_is_read(vector: str) -> None:
    reader = record_format()
    for key, data in values(vector):
        meta = reader.read(data)
        assert key.endswith(meta["task_id"])
        if meta["status"] in ("FAILURE", "RETRY", "REVOKED"):
            assert isinstance(meta["result"], BaseException)


@pytest.mark.parametrize("vector", ["run_success", "run_failure_builtin", "run_started", "run_progress", "run_retry"])
def test_what_we_write_is_what_celery_writes(vector: str) -> None:
    writer = record_format()
    seen = 0
    for _, data in values(vector):
        theirs = json.loads(data)
        result = writer.read(data)["result"]
        request = Context(group=theirs.get("group_id"), parent_id=theirs.get("parent_id"))
        written = writer.write(
            theirs["task_id"], theirs["status"], result, theirs["traceback"], request, theirs["children"]
        )
        ours = json.loads(written)
        assert list(ours) == list(theirs)
        moment = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")
        if theirs["date_done"] is not None:
            assert moment.fullmatch(theirs.pop("date_done"))
            assert moment.fullmatch(ours.pop("date_done"))
        assert ours == theirs
        seen += 1
    assert seen


@pytest.mark.parametrize("value", [None, "\u00fc\ud800", 2**70, [1.5, {"a": (True, b"x")}], {"nested": [[]]}])
@pytest.mark.parametrize("ids", [{}, {"group": "g"}, {"group": "g", "parent_id": "p"}, {"group": ""}])
def test_the_core_writes_successes_as_the_serializer_does(
    monkeypatch: pytest.MonkeyPatch, value: Any, ids: dict[str, str]
) -> None:
    writer = record_format()
    monkeypatch.setattr(writer._clock, "now", lambda: "2026-01-01T00:00:00.000000+00:00")
    arguments = ("t-1", "SUCCESS", value, None, Context(**ids), [["child", None]])
    by_core = writer.write(*arguments)
    monkeypatch.setattr("umbel._native.json_success", None)
    with pytest.raises(EncodeError):  # It was the core that wrote it.
        writer.write(*arguments)
    monkeypatch.setattr(writer, "_is_plain", False)
    assert writer.write(*arguments) == by_core


@pytest.mark.parametrize(
    ("vector", "settings"),
    [
        ("result_option_compressed", {}),
        ("result_option_extended", {}),
        ("result_option_msgpack", {"result_accept_content": ["json", "msgpack"]}),
        ("result_option_pickle", {"result_serializer": "pickle"}),
        ("result_option_prefix", {}),
    ],
)
def test_options_of_celery_are_read(vector: str, settings: dict[str, Any]) -> None:
    reader = record_format(**settings)
    metas = {meta["task_id"]: meta for meta in (reader.read(data) for _, data in values(vector))}
    assert metas[TEST_ID]["status"] == "SUCCESS"
    assert metas[TEST_ID]["result"] == {"a": 1} or metas[TEST_ID]["result"]["a"]
    if "tid-2" in metas:
        assert isinstance(metas["tid-2"]["result"], ValueError)


@pytest.mark.parametrize("serializer", ["json", "pickle", "yaml", "msgpack"])
@pytest.mark.parametrize("compression", [None, "zlib", "bzip2", "zstd"])
def test_there_and_back(serializer: str, compression: str | None) -> None:
    both = record_format(result_serializer=serializer, result_compression=compression)
    meta = both.read(both.write("i", "SUCCESS", {"a": [1, None]}))
    assert (meta["status"], meta["result"], meta["task_id"], meta["children"]) == (
        "SUCCESS",
        {"a": [1, None]},
        "i",
        None,
    )
    meta = both.read(both.write("i", "FAILURE", KeyError("x"), "text"))
    assert repr(meta["result"]) == "KeyError('x')"
    # Another reader, with other settings, reads it too if it accepts the serializer.
    other = record_format(accept_content=["json", "pickle", "yaml", "msgpack"])
    assert other.read(both.write("i", "SUCCESS", 5))["result"] == 5


@pytest.mark.parametrize("serializer", ["pickle", "yaml", "msgpack"])
def test_what_is_not_accepted_is_not_read(serializer: str) -> None:
    data = record_format(result_serializer=serializer).write("i", "SUCCESS", 5)
    with pytest.raises(ContentDisallowed):
        record_format().read(data)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b"\x00celery-compressed\x00x\x00y", b"\xff\xfe", b'"x"'])
def test_what_is_no_record(data: bytes) -> None:
    with pytest.raises((DecodeError, ContentDisallowed)):
        record_format().read(data)


def test_fields_of_the_request() -> None:
    request = Context(
        task="t", args=[1], kwargs={"k": 2}, group="g", parent_id="p", retries=3, hostname="w@h",
        delivery_info={"routing_key": "q"}, stamps={"a": 1}, stamped_headers=["a"],
    )  # fmt: skip
    plain = json.loads(record_format().write("i", "SUCCESS", 1, None, request, []))
    assert list(plain)[-3:] == ["group_id", "parent_id", "task_id"]
    extended = json.loads(record_format(result_extended=True).write("i", "SUCCESS", 1, None, request, []))
    assert {name: extended[name] for name in ("name", "args", "kwargs", "worker", "retries", "queue", "a")} == {
        "name": "t", "args": [1], "kwargs": {"k": 2}, "worker": "w@h", "retries": 3, "queue": "q", "a": 1,
    }  # fmt: skip


def test_life() -> None:
    assert record_format().expires_for("SUCCESS") == 86400
    short = record_format(result_failure_expires=5)
    assert (short.expires_for("SUCCESS"), short.expires_for("FAILURE")) == (86400, 5)
    assert record_format(result_expires=None).expires_for("SUCCESS") is None
    assert record_format(result_expires=0).expires_for("FAILURE") is None


def test_what_cannot_be_written() -> None:
    with pytest.raises(EncodeError, match="object"):
        record_format().write("i", "SUCCESS", object())
    with pytest.raises(ImproperlyConfigured, match="rar"):
        record_format(result_compression="rar")


def test_time_zone_of_the_date() -> None:
    record = json.loads(record_format(timezone="Asia/Kolkata").write("i", "SUCCESS", 1))
    assert record["date_done"].endswith("+05:30")


def test_exceptions_of_ours_carry_celerys_module() -> None:
    record = json.loads(record_format().write("i", "FAILURE", exceptions.TaskRevokedError("expired")))
    assert record["result"]["exc_module"] == "celery.exceptions"
