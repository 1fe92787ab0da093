"""Tasks that are to run again, are ignored or rejected."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

import pytest
from tracing import Bench

from umbel import Task, Umbel
from umbel.exceptions import Ignore, MaxRetriesExceededError, Reject

# --- retry


def test_retry(app: Umbel, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    @app.task(name="again", bind=True, max_retries=2)
    def again(self: Task[..., Any], x: int) -> None:
        raise self.retry(exc=ValueError("again"), countdown=10)

    before = app.now()
    with caplog.at_level(logging.INFO, "umbel"):
        outcome = bench.run(
            again, 5, task_id="i", priority=3, headers={"x-trace": 1}, time_limit=9, queue="q", reply_to="me"
        )
    assert (outcome["state"], outcome["disposition"]) == ("RETRY", "ack")
    record = outcome["record"]
    assert record["result"] == {"exc_type": "ValueError", "exc_message": ["again"], "exc_module": "builtins"}
    assert record["date_done"] is None
    assert "Retry in 10s: ValueError('again')" in record["traceback"]
    (message,) = outcome["publish"]
    headers = message["headers"]
    assert (headers["id"], headers["retries"], headers["parent_id"], headers["root_id"]) == ("i", 1, "i", "i")
    assert (headers["x-trace"], headers["timelimit"], headers["argsrepr"]) == (1, [9, None], "(5,)")
    assert 9 < (datetime.fromisoformat(headers["eta"]) - before).total_seconds() < 60
    assert message["eta"] == datetime.fromisoformat(headers["eta"]).timestamp()
    assert (message["routing_key"], message["properties"]["priority"], message["properties"]["reply_to"]) == (
        "q",
        3,
        "me",
    )
    assert bench.body(message)[0] == [5]
    assert caplog.records[0].getMessage() == "Task again[i] retry: Retry in 10s: ValueError('again')"


def test_every_try_is_kept_with_the_result(app: Umbel, bench: Bench) -> None:
    @app.task(name="again", bind=True, autoretry_for=(OSError,), max_retries=9, track_started=True)
    def again(self: Task[..., Any], most: int) -> str:
        self.update_state(state="MINE", meta=1)
        if self.request.retries < most:
            raise OSError(f"try {self.request.retries}")
        assert "umbel_attempts" not in (self.request.headers or {})
        return "done"

    def told(record: dict[str, Any]) -> list[tuple[int, str, Any]]:
        return [(one["retries"], one["state"], one.get("why")) for one in record["attempts"]]

    first = bench.run(again, 2)
    assert told(first["record"]) == [(0, "RETRY", "OSError('try 0')")]
    # The process that ran the second try was lost twice.
    second = bench.deliver(first["publish"][0], failed_deliveries=2)
    lost = (1, "LOST", "the process or machine that ran it was lost")
    assert told(second["record"]) == [(0, "RETRY", "OSError('try 0')"), lost, lost, (1, "RETRY", "OSError('try 1')")]
    third = bench.deliver(second["publish"][0])
    assert told(third["record"])[2:] == [lost, (1, "RETRY", "OSError('try 1')"), (2, "SUCCESS", None)]
    last = third["record"]["attempts"][-1]
    assert (last["worker"], last["started"] <= last["ended"]) == ("w@h", True)
    # While it runs they are not forgotten.
    for state, record in bench.link.progress:
        assert told(record)[2:] == [lost, (1, "RETRY", "OSError('try 1')"), (2, state, None)]
        assert record["attempts"][-1]["ended"] is None
    # Where there is nothing to tell, the record is Celery's to the byte.
    assert "attempts" not in bench.run(again, 0)["record"]
    assert not any("attempts" in record for _, record in bench.link.progress)
    many = bench.run(again, 10**6, headers={"umbel_attempts": [{"retries": 7}] * 200 + ["not one"]})
    assert (len(many["record"]["attempts"]), many["record"]["attempts"][0]) == (50, {"retries": 7})
    assert told(bench.run(again, 10**6, headers={"umbel_attempts": "nonsense"})["record"])[0][0] == 0


def test_retries_run_out(app: Umbel, bench: Bench) -> None:
    @app.task(name="again", bind=True, max_retries=2)
    def again(self: Task[..., Any], x: int, exc: bool) -> None:
        raise self.retry(exc=ValueError("again") if exc else None)

    outcome = bench.run(again, 5, True, retries=2)
    assert (outcome["state"], outcome["publish"]) == ("FAILURE", [])
    assert outcome["record"]["result"]["exc_type"] == "ValueError"
    outcome = bench.run(again, 5, False, retries=2)
    assert outcome["record"]["result"]["exc_type"] == MaxRetriesExceededError.__name__
    assert outcome["record"]["result"]["exc_module"] == "celery.exceptions"
    again.max_retries = None
    assert bench.run(again, 5, True, retries=1000)["state"] == "RETRY"


def test_retry_with_other_arguments_and_options(app: Umbel, bench: Bench) -> None:
    @app.task(name="again", bind=True)
    def again(self: Task[..., Any], x: int, y: int = 0) -> None:
        raise self.retry(args=(x + 1,), countdown=1, queue="slow", max_retries=9)

    (message,) = bench.run(again, 5, kwargs={"y": 2}, retries=7)["publish"]
    assert bench.body(message)[:2] == [[6], {"y": 2}]
    assert message["routing_key"] == "slow"


def test_a_retry_that_is_not_raised(app: Umbel, bench: Bench) -> None:
    @app.task(name="again", bind=True)
    def again(self: Task[..., Any]) -> str:
        return str(self.retry(countdown=1, throw=False))

    outcome = bench.run(again)
    assert (outcome["state"], outcome["record"]["result"], len(outcome["publish"])) == ("SUCCESS", "Retry in 1s", 1)


def test_a_retry_that_cannot_be_sent(app: Umbel, bench: Bench) -> None:
    @app.task(name="again", bind=True)
    def again(self: Task[..., Any]) -> None:
        raise self.retry(args=(object(),))

    outcome = bench.run(again)
    assert (outcome["state"], outcome["disposition"], outcome["publish"]) == ("FAILURE", "reject", [])
    assert "task again" in outcome["reason"]


def test_autoretry(app: Umbel, bench: Bench) -> None:
    @app.task(
        name="auto", autoretry_for=(OSError,), dont_autoretry_for=(FileNotFoundError,), retry_backoff=4,
        retry_jitter=False, retry_kwargs={"max_retries": 3},
    )  # fmt: skip
    def auto(kind: str) -> None:
        raise {"os": OSError("x"), "file": FileNotFoundError("x"), "ignore": Ignore(), "other": KeyError("x")}[kind]

    outcome = bench.run(auto, "os", retries=2)
    assert outcome["state"] == "RETRY"
    assert outcome["record"]["result"]["exc_type"] == "OSError"
    due = outcome["publish"][0]["eta"] - app.now().timestamp()
    assert 10 < due <= 16
    assert bench.run(auto, "os", retries=3)["state"] == "FAILURE"
    assert bench.run(auto, "file")["state"] == "FAILURE"
    assert bench.run(auto, "other")["state"] == "FAILURE"
    assert bench.run(auto, "ignore")["state"] == "IGNORED"


# --- ignore and reject


def test_ignore(app: Umbel, bench: Bench) -> None:
    def ignore() -> None:
        raise Ignore

    outcome = bench.run(app.task(name="ignores")(ignore))
    assert (outcome["state"], outcome["disposition"], outcome["record"]) == ("IGNORED", "ack", None)


def test_reject(app: Umbel, bench: Bench) -> None:
    @app.task(name="rejects")
    def rejects(requeue: bool) -> None:
        raise Reject("no thanks", requeue=requeue)

    outcome = bench.run(rejects, False)
    assert (outcome["state"], outcome["disposition"], outcome["reason"]) == ("FAILURE", "reject", "no thanks")
    record = outcome["record"]
    assert record["result"] == {
        "exc_type": "Reject",
        "exc_message": ["no thanks", False],
        "exc_module": "celery.exceptions",
    }
    assert record["traceback"] is None
    outcome = bench.run(rejects, True)
    assert (outcome["state"], outcome["disposition"], outcome["record"]) == ("REJECTED", "requeue", None)
