"""Tasks that raise, run into a soft limit, or return what cannot be told."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from tracing import Bench, Job, Link

from umbel import Umbel, _current, _native, signals
from umbel.exceptions import SoftTimeLimitExceeded, WorkerShutdown
from umbel.execution.tracer import Tracer


class Surprise(Exception):
    pass


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
