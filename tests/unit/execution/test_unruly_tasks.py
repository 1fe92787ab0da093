"""Tasks, hooks and exceptions that break what they touch: every job is reported, once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest
from tracing import Bench, Job, Link

from umbel import Task, Umbel, _native, signals
from umbel.exceptions import Reject, SoftTimeLimitExceeded, WorkerShutdown
from umbel.execution.tracer import Tracer

SURROGATE = "a lone \udc80 surrogate"


class Unprintable(Exception):
    """Its text cannot be had: asking for it raises what it was made with."""

    def __init__(self, raises: type[BaseException]) -> None:
        self.raises = raises
        super().__init__()

    def __repr__(self) -> str:
        raise self.raises

    __str__ = __repr__


class Unpicklable(Exception):
    """Asking for its pickled form ends the program."""

    def __reduce__(self) -> NoReturn:
        raise SystemExit(4)


class Garbled(Exception):
    """Its text cannot be written as UTF-8."""

    def __repr__(self) -> str:
        return SURROGATE

    __str__ = __repr__


@contextmanager
def receiving(signal: signals.Signal, receiver: Callable[..., Any]) -> Iterator[None]:
    signal.connect(receiver, weak=False)
    try:
        yield
    finally:
        signal.disconnect(receiver)


def leaving(**_: Any) -> NoReturn:
    raise SystemExit(3)


def raising(app: Umbel, error: BaseException) -> Task[..., Any]:
    def body() -> NoReturn:
        raise error

    return app.task(name=f"raises-{len(app.tasks)}")(body)


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt, RecursionError])
def test_an_exception_without_text_is_a_failure(app: Umbel, bench: Bench, kind: type[BaseException]) -> None:
    outcome = bench.run(raising(app, Unprintable(kind)))
    assert (outcome["state"], outcome["disposition"]) == ("FAILURE", "ack")
    assert outcome["reason"] == f"<Unprintable whose repr raised {kind.__name__}>"
    assert outcome["record"]["result"]["exc_type"] in ("Unprintable", "UnpickleableExceptionWrapper")
    assert "Unprintable" in outcome["record"]["traceback"]


@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_an_exception_that_cannot_be_pickled_is_a_failure(app: Umbel, serializer: str) -> None:
    app.conf.update(result_serializer=serializer, accept_content=["json", "pickle"])
    link: Any = Recording()
    Tracer(app, "w@h").run(delivered(app, raising(app, Unpicklable("no"))), link)
    (outcome,) = link.outcomes
    assert (outcome["state"], outcome["disposition"]) == ("FAILURE", "ack")


class Recording(Link):
    """Keeps records as bytes."""

    def finish(self, job: Any, state: str, disposition: str, record: Any, *args: Any, **kwargs: Any) -> None:
        super().finish(job, state, disposition, None, *args, **kwargs)
        self.outcomes[-1]["record"] = record


def delivered(app: Umbel, task: Task[..., Any], *args: Any) -> Any:
    return Job(app.sender.prepare(task.name, args, {}, {}, task).message)


def test_text_with_lone_surrogates_arrives(app: Umbel, bench: Bench) -> None:
    assert bench.run(app.task(name="says")(lambda: SURROGATE))["record"]["result"] == SURROGATE
    outcome = bench.run(raising(app, ValueError(SURROGATE)))
    assert outcome["record"]["result"]["exc_message"] == [SURROGATE]
    outcome = bench.run(raising(app, Garbled()))
    assert outcome["reason"] == "a lone \\udc80 surrogate"
    assert "Garbled" in outcome["record"]["traceback"]


@pytest.mark.parametrize("reason", [lambda: SURROGATE, Garbled, lambda: Unprintable(SystemExit)])
def test_a_rejection_for_an_unprintable_reason_is_a_dead_letter(
    app: Umbel, bench: Bench, reason: Callable[[], object]
) -> None:
    outcome = bench.run(raising(app, Reject(reason())))
    assert (outcome["disposition"], outcome["kind"]) == ("reject", "rejected")
    assert outcome["reason"].encode()


def test_a_reason_is_cut(app: Umbel, bench: Bench) -> None:
    assert len(bench.run(raising(app, ValueError("x" * 100_000)))["reason"]) == 10_003


def test_a_retry_for_an_unprintable_reason_is_a_retry(app: Umbel, bench: Bench) -> None:
    @app.task(name="again", bind=True)
    def again(self: Task[..., Any]) -> NoReturn:
        raise self.retry(exc=Unprintable(SystemExit))

    outcome = bench.run(again)
    assert (outcome["state"], len(outcome["publish"])) == ("RETRY", 1)


def test_a_retry_whose_record_cannot_hold_the_arguments_is_a_retry(app: Umbel, bench: Bench) -> None:
    app.conf.update(result_extended=True, accept_content=["pickle"])

    @app.task(name="again", bind=True)
    def again(self: Task[..., Any], x: object) -> NoReturn:
        raise self.retry(serializer="pickle")

    outcome = bench.run(again, object(), serializer="pickle")
    assert (outcome["state"], outcome["disposition"], len(outcome["publish"])) == ("RETRY", "ack", 1)
    assert outcome["record"]["status"] == "RETRY"


# --- hooks and receivers


def test_a_receiver_that_exits_before_the_task_makes_it_fail(app: Umbel, bench: Bench) -> None:
    ran: list[int] = []
    task = app.task(name="plain")(lambda: ran.append(1))
    with receiving(signals.task_prerun, leaving):
        outcome = bench.run(task)
    assert (outcome["state"], outcome["disposition"]) == ("FAILURE", "ack")
    assert outcome["record"]["result"]["exc_type"] == "SystemExit"
    assert not ran


@pytest.mark.parametrize("name", ["task_success", "task_postrun"])
def test_a_receiver_that_exits_after_the_task_changes_nothing(
    app: Umbel, bench: Bench, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with receiving(getattr(signals, name), leaving):
        assert bench.run(app.task(name="plain")(lambda: 1))["state"] == "SUCCESS"
    assert "INTERNAL ERROR: SystemExit(3)" in caplog.text


def test_a_hook_that_exits_changes_nothing(app: Umbel, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    class Hooked(app.Task):  # type: ignore[name-defined, misc]
        def on_success(self, *args: Any) -> NoReturn:
            raise SystemExit

    assert bench.run(app.task(name="hooked", base=Hooked)(lambda: 1))["state"] == "SUCCESS"
    assert "on_success handler raised: SystemExit()" in caplog.text


def test_a_receiver_that_stops_the_worker_does_so_after_the_report(app: Umbel, bench: Bench) -> None:
    def stop(**_: Any) -> NoReturn:
        raise WorkerShutdown

    task = app.task(name="plain")(lambda: 1)
    with receiving(signals.task_prerun, stop), pytest.raises(WorkerShutdown):
        bench.run(task)
    assert bench.link.outcomes[0]["state"] == "FAILURE"
    assert bench.link.flushed


def test_an_errback_that_exits_leaves_the_failure_as_it_is(app: Umbel, bench: Bench) -> None:
    @app.task(name="errback")
    def errback(request: Any, error: Any, traceback: Any) -> NoReturn:
        raise SystemExit

    signature = {"task": "errback", "args": [], "kwargs": {}, "options": {}, "subtask_type": None, "immutable": False}
    outcome = bench.run(raising(app, ValueError("first")), link_error=signature)
    assert (outcome["state"], outcome["disposition"]) == ("FAILURE", "ack")
    assert outcome["record"]["result"]["exc_type"] == "ValueError"


def test_a_soft_limit_that_passes_before_the_task_runs_is_reported(app: Umbel) -> None:
    class Limited(Job):
        def decode_json(self) -> Any:
            raise SoftTimeLimitExceeded

    task, link = app.task(name="plain")(lambda: 1), Link()
    job: Any = Limited(app.sender.prepare("plain", (), {}, {}, task).message)
    Tracer(app, "w@h").run(job, link)  # type: ignore[arg-type]
    (outcome,) = link.outcomes
    assert (outcome["disposition"], outcome["kind"]) == ("reject", "internal-error")
    assert "SoftTimeLimitExceeded" in outcome["reason"]


def test_a_body_that_cannot_be_read_for_a_reason_that_cannot_be_written_is_a_dead_letter(app: Umbel) -> None:
    class Odd(Job):
        def decode_json(self) -> NoReturn:
            raise ValueError(SURROGATE * 1000)

    task, link = app.task(name="plain")(lambda: 1), Link()
    job: Any = Odd(app.sender.prepare("plain", (), {}, {}, task).message)
    Tracer(app, "w@h").run(job, link)  # type: ignore[arg-type]
    (outcome,) = link.outcomes
    assert (outcome["disposition"], outcome["kind"]) == ("reject", "undecodable")
    assert outcome["reason"].encode()
    assert len(outcome["reason"]) == 10_003


def test_a_soft_limit_whose_failure_cannot_be_told_is_a_dead_letter(app: Umbel) -> None:
    class Late(Link):
        """The limit passes as the outcome is handed over, and again."""

        limits = 2

        def finish(self, job: Any, *args: Any, **kwargs: Any) -> None:
            if self.limits:
                self.limits -= 1
                raise _native.NativeError("not taken") if self.limits == 0 else TypeError("not taken")
            super().finish(job, *args, **kwargs)

    class Slow:
        def __json__(self) -> NoReturn:
            raise SoftTimeLimitExceeded

    link: Any = Late()
    Tracer(app, "w@h").run(delivered(app, app.task(name="slow")(Slow)), link)
    (outcome,) = link.outcomes
    assert (outcome["disposition"], outcome["kind"]) == ("reject", "internal-error")


# --- too much


def test_a_result_that_is_too_large_is_a_failure_that_names_the_setting(app: Umbel, bench: Bench) -> None:
    app.conf.worker_max_message_bytes = 2000
    outcome = bench.run(app.task(name="large")(lambda: "x" * 3000))
    assert (outcome["state"], outcome["disposition"]) == ("FAILURE", "ack")
    result = outcome["record"]["result"]
    assert result["exc_type"] == "EncodeError"
    assert "worker_max_message_bytes allows 2000" in result["exc_message"][0]


def test_an_exception_that_is_too_large_is_told_without_its_text(app: Umbel, bench: Bench) -> None:
    app.conf.worker_max_message_bytes = 2000
    outcome = bench.run(raising(app, ValueError("x" * 3000)))
    assert (outcome["state"], outcome["disposition"]) == ("FAILURE", "ack")
    assert "worker_max_message_bytes" in outcome["record"]["result"]["exc_message"][0]
    assert outcome["record"]["traceback"] is None


def test_out_of_memory_is_a_failure_that_holds_nothing(app: Umbel, bench: Bench) -> None:
    held: list[Any] = []

    class Large:
        def __del__(self) -> None:
            held.append("released")

    def greedy() -> NoReturn:
        large = Large()
        raise MemoryError(type(large).__name__)

    seen: list[list[Any]] = []
    with receiving(signals.task_failure, lambda **_: seen.append(list(held))):
        outcome = bench.run(app.task(name="greedy")(greedy))
    assert outcome["record"]["result"]["exc_type"] == "MemoryError"
    assert seen == [["released"]]


# --- when reporting itself fails


class Broken(Link):
    """A link that takes no record."""

    def finish(self, job: Any, state: str, disposition: str, record: Any, *args: Any, **kwargs: Any) -> None:
        if record is not None:
            raise MemoryError
        super().finish(job, state, disposition, record, *args, **kwargs)


def test_the_least_is_reported_if_nothing_else_can_be(app: Umbel, caplog: pytest.LogCaptureFixture) -> None:
    link: Any = Broken()
    Tracer(app, "w@h").run(delivered(app, app.task(name="plain")(lambda: 1)), link)
    (outcome,) = link.outcomes
    assert (outcome["disposition"], outcome["kind"]) == ("reject", "internal-error")
    assert "see the worker's log" in outcome["reason"]
    assert "INTERNAL ERROR" in caplog.text


def test_a_job_that_cannot_be_read_for_any_reason_is_a_dead_letter(app: Umbel) -> None:
    class Odd(Job):
        def decode_json(self) -> NoReturn:
            raise SystemExit(5)

    task, link = app.task(name="plain")(lambda: 1), Link()
    job: Any = Odd(app.sender.prepare("plain", (), {}, {}, task).message)
    Tracer(app, "w@h").run(job, link)  # type: ignore[arg-type]
    (outcome,) = link.outcomes
    assert (outcome["disposition"], outcome["kind"]) == ("reject", "internal-error")


# --- forks

_FORKING = """
import os, sys, uuid
sys.path.insert(0, {here!r})
from tracing import Bench
from umbel import Umbel

app = Umbel("forking", broker="memory://" + str(uuid.uuid4()))
bench = Bench(app)

def body():
    if os.fork():
        return os.waitstatus_to_exitcode(os.wait()[1])
    {ending}

print(bench.run(app.task(name="forks")(body))["record"]["result"], len(bench.link.outcomes))
"""


@pytest.mark.parametrize(
    ("ending", "status", "said"),
    [
        ("return 5", 0, "end it with os._exit()"),
        ("sys.exit(7)", 7, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit('goodbye')", 1, "goodbye"),
        ("raise ValueError('in the fork')", 1, "ValueError: in the fork"),
        ("os._exit(9)", 9, ""),
    ],
)
def test_a_fork_ends_where_the_task_ends(ending: str, status: int, said: str) -> None:
    source = _FORKING.format(here=str(Path(__file__).parent), ending=ending)
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == f"{status} 1\n"
    assert said in done.stderr
    assert "INTERNAL" not in done.stderr


def test_a_fork_that_only_the_link_notices_ends_too(app: Umbel) -> None:
    ended: list[Any] = []

    class Foreign(Link):
        def finish(self, *args: Any, **kwargs: Any) -> None:
            raise _native.ForkedError("belongs to another process")

    link: Any = Foreign()
    task = app.task(name="plain")(lambda: 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "_exit", lambda status: ended.append(status))
        Tracer(app, "w@h").run(delivered(app, task), link)
    assert ended == [1]
