"""Rate limits, progress, and tasks that can be asked to stop, on every broker."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from apps.basic import notes
from servers.stack import PATIENCE
from servers.worker_process import wait_until

from umbel import Umbel
from umbel.contrib.abortable import ABORTED, AbortableTask
from umbel.pools.app_finder import AppNotFoundError
from umbel.testing import start_worker


@pytest.fixture
def app(empty_url: str) -> Umbel:
    """An app on an empty broker."""
    return Umbel("running", broker_url=empty_url, result_backend=empty_url, set_as_current=False)


def test_a_rate_limit_spreads_tasks(app: Umbel) -> None:
    @app.task(name="running.tick", rate_limit="10/s")
    def tick() -> float:
        return time.monotonic()

    @app.task(name="running.free")
    def free() -> float:
        return time.monotonic()

    results = tick.apply_async_many([()] * 5)
    with start_worker(app, concurrency=4):
        unlimited = [free.delay() for _ in range(3)]
        starts = sorted(result.get(timeout=PATIENCE) for result in results)
        assert starts[-1] - starts[0] >= 0.4 - 0.02, "four pauses of a tenth of a second"
        assert max(result.get(timeout=PATIENCE) for result in unlimited) < starts[-1], "they do not queue behind those"


def test_a_rate_limit_of_all_workers_together(app: Umbel) -> None:
    @app.task(name="running.shared", rate_limit="10/s", rate_limit_scope="cluster")
    def shared() -> float:
        return time.monotonic()

    results = shared.apply_async_many([()] * 6)
    with start_worker(app, concurrency=2), start_worker(app, concurrency=2):
        starts = sorted(result.get(timeout=PATIENCE) for result in results)
    assert starts[-1] - starts[0] >= 0.5 - 0.03, "five pauses of a tenth of a second, whoever runs them"


def test_a_rate_limit_is_changed_by_command(app: Umbel) -> None:
    @app.task(name="running.rare", rate_limit="1/h")
    def rare() -> str:
        return "ran"

    with start_worker(app) as worker:
        assert rare.delay().get(timeout=PATIENCE) == "ran"
        ask = {"reply": True, "limit": 1, "timeout": PATIENCE}
        answer = app.control.rate_limit("running.rare", "100/s", **ask)
        assert answer == [{worker.hostname: {"ok": "new rate limit set successfully"}}]
        assert rare.delay().get(timeout=PATIENCE) == "ran"
        [lifted] = app.control.rate_limit("running.rare", 0, **ask) or []
        assert lifted[worker.hostname] == {"ok": "rate limit disabled successfully"}
        [unknown] = app.control.rate_limit("running.none", 1, **ask) or []
        assert unknown[worker.hostname] == {"error": "unknown task"}
        [wrong] = app.control.rate_limit("running.rare", "often", **ask) or []
        assert wrong[worker.hostname]["error"].startswith("Invalid rate limit string: ValueError(\"'often' is no rate")


def test_a_rate_limit_that_is_none(app: Umbel) -> None:
    app.task(name="running.wrong", rate_limit="10 per minute")(lambda: None)
    with (
        pytest.raises(AppNotFoundError, match=r"running\.wrong: rate_limit '10 per minute' is no rate"),
        start_worker(app),
    ):
        pass


def test_a_scope_that_is_none(app: Umbel) -> None:
    app.task(name="running.wrong", rate_limit_scope="world")(lambda: None)
    with (
        pytest.raises(AppNotFoundError, match="rate_limit_scope is 'worker' or 'cluster', not 'world'"),
        start_worker(app),
    ):
        pass


def test_progress_is_visible_to_who_waits(app: Umbel, tmp_path: Path) -> None:
    go = tmp_path / "go"

    @app.task(name="running.work", bind=True)
    def work(self: Any) -> str:
        self.progress(0, 3)
        self.progress(1, 3, "too soon after the first")
        while not go.exists():
            time.sleep(0.01)
        self.progress(3, 3, "done")
        return "ok"

    seen: list[Any] = []
    with start_worker(app):
        result = work.delay()
        wait_until(lambda: result.state == "PROGRESS", PATIENCE, "progress is told")
        assert result.info == {"current": 0, "total": 3}
        go.touch()
        assert result.get(timeout=PATIENCE, on_message=lambda meta: seen.append(meta["result"])) == "ok"
    told = [each for each in seen if isinstance(each, dict)]
    assert all(each.get("message") != "too soon after the first" for each in told)


def test_a_task_is_asked_to_stop(app: Umbel, tmp_path: Path) -> None:
    path = str(tmp_path / "notes")

    @app.task(name="running.patient", bind=True, base=AbortableTask)
    def patient(self: Any) -> str:
        Path(path).write_text("begun\n")
        while not self.is_aborted():
            self.progress(0, 1)
            time.sleep(0.01)
        self.progress(1, 1, "does not write over the request")
        assert self.is_aborted()
        return "stopped"

    with start_worker(app):
        result: Any = patient.delay()
        wait_until(lambda: notes(path) != [], PATIENCE, "the task runs")
        assert not result.is_aborted()
        result.abort()
        assert result.get(timeout=PATIENCE) == "stopped"
        result.abort()
        assert result.state == "SUCCESS", "what has ended stays"
        assert ABORTED == "ABORTED"
