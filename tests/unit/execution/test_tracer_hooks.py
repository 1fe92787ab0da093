"""What is called around a task: hooks, signals, the log."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest
from tracing import Bench

from umbel import Task, Umbel, signals


class Surprise(Exception):
    pass


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
