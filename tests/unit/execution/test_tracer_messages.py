"""Messages that cannot be run, and those in other forms than ours."""

from __future__ import annotations

from typing import Any

import pytest
from tracing import Bench

from umbel import Umbel, signals


def refused(bench: Bench, **changes: Any) -> dict[str, Any]:
    bench.app.tasks.get("add") or bench.app.task(name="add")(lambda x, y: x + y)
    message: Any = {**bench.app.sender.prepare("add", (1, 2), {}, {}).message, **changes}
    outcome = bench.deliver(message)
    assert outcome["disposition"] == "reject"
    return outcome


def test_unknown_task(app: Umbel, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Any] = []
    receiver = signals.task_unknown.connect(lambda **named: seen.append((named["name"], named["id"])))
    outcome = bench.run("nobody.knows", task_id="i", group_id="g")
    signals.task_unknown.disconnect(receiver)
    assert (outcome["state"], outcome["disposition"], outcome["kind"]) == ("FAILURE", "reject", "unregistered")
    assert "nobody.knows" in outcome["reason"]
    record = outcome["record"]
    assert record["result"] == {
        "exc_type": "NotRegistered",
        "exc_message": ["nobody.knows"],
        "exc_module": "celery.exceptions",
    }
    assert record["group_id"] == "g"
    assert seen == [("nobody.knows", "i")]
    assert "nobody.knows" in caplog.text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"[]",
        b"[[], {}]",
        b"[[], {}, {}, {}]",
        b"[5, {}, {}]",
        b"[[], [], {}]",
        b"[[], {}, 5]",
        b"null",
    ],
)
def test_bodies_that_are_none(bench: Bench, body: bytes) -> None:
    outcome = refused(bench, body=body)
    assert (outcome["kind"], outcome["record"]) == ("undecodable", None)
    assert outcome["reason"]


def test_an_embed_of_null_is_fine(app: Umbel, bench: Bench) -> None:
    app.task(name="add")(lambda x, y: x + y)
    message: Any = {**app.sender.prepare("add", (), {}, {}).message, "body": b"[[1, 2], {}, null]"}
    assert bench.deliver(message)["record"]["result"] == 3


def test_content_that_is_not_accepted(bench: Bench) -> None:
    outcome = refused(bench, content_type="application/x-python-serialize")
    assert outcome["kind"] == "not-accepted"
    assert "accept_content" in outcome["reason"]
    bench.app.conf.accept_content = ["pickle"]
    assert refused(bench)["kind"] == "not-accepted"


def test_a_body_of_protocol_one(app: Umbel, bench: Bench) -> None:
    app.conf.accept_content = ["yaml"]
    app.task(name="add")(lambda x, y: x + y)
    message: Any = {
        **app.sender.prepare("add", (), {}, {}).message,
        "content_type": "application/x-yaml",
        "body": b"{args: [1, 2], kwargs: {}}",
    }
    assert bench.deliver(message)["record"]["result"] == 3


SIGNATURE = {"task": "add", "args": [1], "kwargs": {}, "options": {}, "subtask_type": None, "immutable": False}


@pytest.mark.parametrize(
    ("embed", "word"),
    [
        ({"link": 5}, "callbacks"),
        ({"chord": 5}, "chord"),
        ({"chain": [{**SIGNATURE, "task": None}]}, "chain"),
        ({"link_error": [SIGNATURE, "name"]}, "errbacks"),
    ],
)
def test_what_is_no_signature(app: Umbel, bench: Bench, embed: dict[str, Any], word: str) -> None:
    ran: list[int] = []
    task = app.task(name="plain")(lambda: ran.append(1))
    outcome = bench.run(task, **embed)
    assert (outcome["disposition"], outcome["kind"], outcome["record"]) == ("reject", "undecodable", None)
    assert word in outcome["reason"]
    assert not ran
