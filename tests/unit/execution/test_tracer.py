"""One job through the tracer: what a task returns, and what is said of it meanwhile."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from typing import Any

import pytest
from tracing import Bench, Job, Link

from umbel import Task, Umbel, _current, current_task
from umbel.execution.tracer import Tracer

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


def test_one_tracer_serves_many_jobs(app: Umbel) -> None:
    task = app.task(name="echo")(lambda x: x)
    tracer, link = Tracer(app, "w@h"), Link()
    for number in range(3):
        job: Any = Job(app.sender.prepare("echo", (number,), {}, {}, task).message)
        tracer.run(job, link)  # type: ignore[arg-type]
    assert [outcome["record"]["result"] for outcome in link.outcomes] == [0, 1, 2]
