"""From a delivery to its outcome."""

from __future__ import annotations

import logging
import os
import re
from datetime import datetime, timezone
from typing import Any

import pytest
from tracing import Bench, Job, Link

from umbel import Task, Umbel, _current, _native, current_task, signals
from umbel.exceptions import Ignore, MaxRetriesExceededError, Reject, SoftTimeLimitExceeded, WorkerShutdown
from umbel.execution.tracer import Tracer


class Surprise(Exception):
    pass


# --- success


def test_success(app: Umbel, bench: Bench) -> None:
    add = app.task(name="add")(lambda x, y: x + y)
    outcome = bench.run(add, 2, 3)
    record = outcome.pop("record")
    assert outcome == {
        "state": "SUCCESS",
        "disposition": "ack",
        "expires": 86400.0,
        "publish": [],
        "reason": "",
        "kind": "rejected",
    }
    assert list(record) == ["status", "result", "traceback", "children", "date_done", "task_id"]
    assert (record["status"], record["result"], record["children"]) == ("SUCCESS", 5, [])
    assert datetime.fromisoformat(record["date_done"]).tzinfo == timezone.utc
    assert _current.current_request() is None


@pytest.mark.parametrize("serializer", ["json", "pickle", "yaml", "msgpack"])
def test_serializers(app: Umbel, bench: Bench, serializer: str) -> None:
    app.conf.accept_content = ["json", "pickle", "yaml", "msgpack"]
    add = app.task(name="add")(lambda x, y=0: x + y)
    assert bench.run(add, 2, kwargs={"y": 3}, serializer=serializer)["record"]["result"] == 5


@pytest.mark.parametrize("compression", ["zlib", "bzip2", "zstd", "lzma"])
def test_compression(app: Umbel, bench: Bench, compression: str) -> None:
    app.conf.accept_content = ["json", "msgpack"]
    echo = app.task(name="echo")(lambda x: x)
    assert bench.run(echo, "x" * 100, compression=compression)["record"]["result"] == "x" * 100
    assert bench.run(echo, "y", compression=compression, serializer="msgpack")["record"]["result"] == "y"


def test_compression_nobody_knows(app: Umbel, bench: Bench) -> None:
    app.task(name="echo")(lambda x: x)
    message: Any = app.sender.prepare("echo", (1,), {}, {"headers": {"compression": "application/x-rot13"}}).message
    outcome = bench.deliver(message)
    assert (outcome["disposition"], outcome["kind"]) == ("reject", "undecodable")
    assert "rot13" in outcome["reason"]


def test_coroutines(app: Umbel, bench: Bench) -> None:
    @app.task(name="double", autoretry_for=(KeyError,))
    async def double(x: int) -> int:
        assert current_task.name == "double"
        return {1: 2}[x]

    assert bench.run(double, 1)["record"]["result"] == 2
    assert bench.run(double, 3)["state"] == "RETRY"


def test_the_request(app: Umbel, bench: Bench) -> None:
    seen: dict[str, Any] = {}

    @app.task(name="look", bind=True)
    def look(self: Task[..., Any], x: int) -> None:
        request = self.request
        seen.update(
            id=request.id, args=request.args, headers=request.headers, hostname=request.hostname,
            queue=request.delivery_info["routing_key"], reply_to=request.reply_to, current=current_task.name,
        )  # fmt: skip

    outcome = bench.run(look, 1, task_id="the-id", headers={"x-trace": "abc"}, reply_to="me", queue="q")
    assert outcome["state"] == "SUCCESS"
    assert seen == {
        "id": "the-id", "args": [1], "headers": {"x-trace": "abc"}, "hostname": "w@h", "queue": "q",
        "reply_to": "me", "current": "look",
    }  # fmt: skip


def test_ignored_results(app: Umbel, bench: Bench) -> None:
    quiet = app.task(name="quiet", ignore_result=True)(lambda: 1)
    broken = app.task(name="broken", ignore_result=True)(lambda: 1 // 0)
    careful = app.task(name="careful", ignore_result=True, store_errors_even_if_ignored=True)(lambda: 1 // 0)
    assert bench.run(quiet)["record"] is None
    assert bench.run(quiet, ignore_result=False)["record"]["result"] == 1
    assert bench.run(broken)["record"] is None
    assert bench.run(careful)["record"]["status"] == "FAILURE"


def test_without_a_result_store() -> None:
    app = Umbel("proj", broker="redis://127.0.0.1:1", set_as_current=False)
    add = app.task(name="add")(lambda x, y: x + y)
    assert Bench(app).run(add, 1, 2)["record"] is None
    assert Bench(app).run(add, 1, "2")["record"] is None


def test_children_and_group(app: Umbel, bench: Bench) -> None:
    other = app.task(name="other")(lambda: None)
    ids: list[str] = []
    parent = app.task(name="parent")(lambda: ids.append(other.delay().id))
    record = bench.run(parent, group_id="g", parent_id="p", root_id="r")["record"]
    assert record["children"] == [[[ids[0], None], None]]
    assert (record["group_id"], record["parent_id"]) == ("g", "p")
    assert app.client.queue_length("celery") == 1


def test_a_task_may_wrap_every_run(app: Umbel, bench: Bench) -> None:
    class Wrapping(app.Task):  # type: ignore[name-defined, misc]
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return ["wrapped", super().__call__(*args, **kwargs)]

    task = app.task(name="inner", base=Wrapping, bind=True)(lambda self, x: [x, self.request.called_directly])
    assert bench.run(task, 1)["record"]["result"] == ["wrapped", [1, True]]


# --- failure


def test_failure(app: Umbel, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    @app.task(name="boom")
    def boom() -> None:
        raise Surprise("first", {"k": 2})

    outcome = bench.run(boom, task_id="i")
    assert (outcome["state"], outcome["disposition"], outcome["reason"]) == (
        "FAILURE",
        "ack",
        "Surprise('first', {'k': 2})",
    )
    record = outcome["record"]
    assert record["result"] == {"exc_type": "Surprise", "exc_message": ["first", {"k": 2}], "exc_module": __name__}
    text = record["traceback"]
    assert text.startswith("Traceback (most recent call last):\n")
    assert text.endswith("Surprise: ('first', {'k': 2})\n")
    assert "in boom" in text
    assert "/tracer.py" not in text
    (line,) = caplog.records
    assert line.getMessage() == "Task boom[i] raised unexpected: Surprise('first', {'k': 2})"
    assert line.levelno == logging.ERROR
    assert line.exc_info is not None


def test_expected_failures_are_no_errors(app: Umbel, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    boom = app.task(name="boom", throws=(ZeroDivisionError,))(lambda: 1 // 0)
    with caplog.at_level(logging.INFO, "umbel"):
        bench.run(boom, task_id="i")
    (line,) = caplog.records
    assert (line.levelno, line.exc_info) == (logging.INFO, None)
    assert "raised expected" in line.getMessage()


def test_a_result_that_cannot_be_written(app: Umbel, bench: Bench) -> None:
    outcome = bench.run(app.task(name="odd")(lambda: object()))
    assert outcome["state"] == "FAILURE"
    result = outcome["record"]["result"]
    assert (result["exc_type"], result["exc_module"]) == ("EncodeError", "kombu.exceptions")
    assert result["exc_message"] == ["TypeError('Object of type object is not JSON serializable')"]


def test_a_failure_with_arguments_that_cannot_be_written(app: Umbel, bench: Bench) -> None:
    app.conf.update(result_extended=True, accept_content=["pickle"])
    boom = app.task(name="boom")(lambda x: 1 // 0)
    record = bench.run(boom, object(), serializer="pickle")["record"]
    assert record["status"] == "FAILURE"


def test_sys_exit_is_a_failure(app: Umbel, bench: Bench) -> None:
    def leave() -> None:
        raise SystemExit(3)

    outcome = bench.run(app.task(name="leave")(leave))
    assert outcome["state"] == "FAILURE"
    assert outcome["record"]["result"]["exc_type"] == "SystemExit"


@pytest.mark.parametrize("error", [KeyboardInterrupt, WorkerShutdown])
def test_what_ends_the_process_is_reported_first(app: Umbel, bench: Bench, error: type[BaseException]) -> None:
    def leave() -> None:
        raise error

    with pytest.raises(error):
        bench.run(app.task(name="leave")(leave))
    assert bench.link.outcomes[0]["state"] == "FAILURE"
    assert bench.link.flushed
    assert _current.current_request() is None


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


# --- states on the way


def test_track_started(app: Umbel, bench: Bench) -> None:
    tracked = app.task(name="tracked", track_started=True)(lambda: 1)
    bench.run(tracked)
    ((state, record),) = bench.link.progress
    assert (state, record["result"], record["date_done"]) == ("STARTED", {"pid": os.getpid(), "hostname": "w@h"}, None)
    bench.run(tracked, ignore_result=True)
    assert not bench.link.progress


def test_update_state(app: Umbel, bench: Bench) -> None:
    @app.task(name="progresses", bind=True)
    def progresses(self: Task[..., Any]) -> None:
        self.update_state(state="PROGRESS", meta={"done": 1})
        self.update_state(task_id="another", state="PROGRESS", meta=2)

    bench.run(progresses, task_id="i")
    ((state, record),) = bench.link.progress
    assert (state, record["task_id"], record["result"]) == ("PROGRESS", "i", {"done": 1})
    assert app.AsyncResult("another").info == 2


# --- hooks and signals


def test_hooks(app: Umbel, bench: Bench) -> None:
    calls: list[str] = []

    class Hooked(app.Task):  # type: ignore[name-defined, misc]
        def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
            calls.append(f"before {task_id} {args}")

        def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
            calls.append(f"success {retval}")

        def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
            calls.append(f"failure {exc!r} {str(einfo).splitlines()[-1]}")

        def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
            calls.append(f"retry {exc!r}")

        def after_return(self, status: str, *args: Any) -> None:
            calls.append(f"after {status}")

    @app.task(name="hooked", base=Hooked, bind=True)
    def hooked(self: Task[..., Any], kind: str) -> str:
        if kind == "fail":
            raise KeyError("x")
        if kind == "retry":
            raise self.retry(exc=OSError("y"))
        return kind

    bench.run(hooked, "fine", task_id="i")
    assert calls == ["before i ['fine']", "success fine", "after SUCCESS"]
    calls.clear()
    bench.run(hooked, "fail", task_id="i")
    assert calls == ["before i ['fail']", "failure KeyError('x') KeyError: 'x'", "after FAILURE"]
    calls.clear()
    bench.run(hooked, "retry", task_id="i")
    assert calls == ["before i ['retry']", "retry OSError('y')"]


def test_a_hook_that_fails_changes_nothing(app: Umbel, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    class Hooked(app.Task):  # type: ignore[name-defined, misc]
        def on_success(self, *args: Any) -> None:
            raise Surprise("in the hook")

    outcome = bench.run(app.task(name="hooked", base=Hooked)(lambda: 1))
    assert outcome["state"] == "SUCCESS"
    assert "in the hook" in caplog.text


def test_before_start_that_fails_is_a_failure(app: Umbel, bench: Bench) -> None:
    class Hooked(app.Task):  # type: ignore[name-defined, misc]
        def before_start(self, *args: Any) -> None:
            raise Surprise("too early")

    assert bench.run(app.task(name="hooked", base=Hooked)(lambda: 1))["state"] == "FAILURE"


def test_signals(app: Umbel, bench: Bench) -> None:
    seen: list[Any] = []
    wanted = {
        signals.task_prerun: lambda **named: seen.append(("prerun", named["task_id"], named["args"])),
        signals.task_postrun: lambda **named: seen.append(("postrun", named["state"], repr(named["retval"]))),
        signals.task_success: lambda **named: seen.append(("success", named["result"])),
        signals.task_failure: lambda **named: seen.append(("failure", repr(named["exception"]), named["sender"].name)),
        signals.task_retry: lambda **named: seen.append(("retry", str(named["reason"]), named["request"].id)),
    }

    @app.task(name="watched", bind=True)
    def watched(self: Task[..., Any], kind: str) -> str:
        if kind == "fail":
            raise KeyError("x")
        if kind == "retry":
            raise self.retry(countdown=1)
        return kind

    for signal, receiver in wanted.items():
        signal.connect(receiver)
    try:
        for kind in ("fine", "fail", "retry"):
            bench.run(watched, kind, task_id="i")
    finally:
        for signal, receiver in wanted.items():
            signal.disconnect(receiver)
    assert seen == [
        ("prerun", "i", ["fine"]),
        ("success", "fine"),
        ("postrun", "SUCCESS", "'fine'"),
        ("prerun", "i", ["fail"]),
        ("failure", "KeyError('x')", "watched"),
        ("postrun", "FAILURE", "KeyError('x')"),
        ("prerun", "i", ["retry"]),
        ("retry", "Retry in 1s", "i"),
        ("postrun", "RETRY", "Retry(Retry in 1s)"),
    ]


def test_success_line(app: Umbel, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    task = app.task(name="says", resultrepr_maxsize=20)(lambda: "x" * 100)
    with caplog.at_level(logging.INFO, "umbel"):
        bench.run(task, task_id="i", shadow="shown")
    text = caplog.records[0].getMessage()
    assert re.fullmatch(r"Task shown\[i\] succeeded in [\d.e-]+s: 'xxxxxxxxxxxxxxxx\.\.\.", text)


# --- soft time limit


def test_a_soft_limit_inside_the_body_is_an_exception_like_others(app: Umbel, bench: Bench) -> None:
    @app.task(name="slow")
    def slow(catch: bool) -> str:
        try:
            raise SoftTimeLimitExceeded
        except SoftTimeLimitExceeded:
            if catch:
                return "cleaned up"
            raise

    assert bench.run(slow, True)["record"]["result"] == "cleaned up"
    result = bench.run(slow, False)["record"]["result"]
    assert result == {"exc_type": "SoftTimeLimitExceeded", "exc_message": [], "exc_module": "billiard.exceptions"}


def test_a_soft_limit_while_the_result_is_written(app: Umbel, bench: Bench) -> None:
    class Slow:
        def __json__(self) -> Any:
            raise SoftTimeLimitExceeded

    outcome = bench.run(app.task(name="slow")(Slow))
    assert outcome["state"] == "FAILURE"
    assert outcome["record"]["result"]["exc_type"] == "SoftTimeLimitExceeded"


def test_a_soft_limit_after_the_report_is_not_reported_twice(app: Umbel, bench: Bench) -> None:
    class Hooked(app.Task):  # type: ignore[name-defined, misc]
        def on_success(self, *args: Any) -> None:
            raise SoftTimeLimitExceeded

    # Hooks log what they raise; a limit that strikes outside of one reaches the loop of the child, which knows of it.
    assert bench.run(app.task(name="late", base=Hooked)(lambda: 1))["state"] == "SUCCESS"


# --- errors that are not the task's


class Refusing(Link):
    """A link that takes no record of more than a thousand bytes."""

    def finish(self, job: Any, state: str, disposition: str, record: Any, *args: Any, **kwargs: Any) -> None:
        if record is not None and len(record) > 1000:
            raise _native.NativeError("frame of 1234 bytes is too large")
        super().finish(job, state, disposition, record, *args, **kwargs)


def test_an_outcome_that_is_too_large(app: Umbel, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []
    receiver = signals.task_internal_error.connect(lambda **named: seen.append(named["task_id"]))
    task = app.task(name="large")(lambda: "x" * 2000)
    link: Any = Refusing()
    job: Any = Job(app.sender.prepare("large", (), {}, {"task_id": "i"}, task).message)
    Tracer(app, "w@h").run(job, link)
    signals.task_internal_error.disconnect(receiver)
    (outcome,) = link.outcomes
    assert (outcome["state"], outcome["disposition"], outcome["kind"]) == ("FAILURE", "reject", "internal-error")
    assert "too large" in outcome["reason"]
    assert seen == ["i"]
    assert "INTERNAL ERROR" in caplog.text


# --- what cannot be run


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


def test_one_tracer_serves_many_jobs(app: Umbel) -> None:
    task = app.task(name="echo")(lambda x: x)
    tracer, link = Tracer(app, "w@h"), Link()
    for number in range(3):
        job: Any = Job(app.sender.prepare("echo", (number,), {}, {}, task).message)
        tracer.run(job, link)  # type: ignore[arg-type]
    assert [outcome["record"]["result"] for outcome in link.outcomes] == [0, 1, 2]
