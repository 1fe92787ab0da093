"""Hooks of tasks whose own process cannot call them any more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from apps.basic import notes
from servers.stack import PATIENCE
from servers.worker_process import WorkerProcess, urls, wait_until

from umbel import Umbel


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Umbel]:
    """A client, with a worker."""
    folder = tmp_path_factory.mktemp("hooked")
    url = f"sqlite:///{folder}/umbel.sqlite3"
    worker = WorkerProcess(folder, ["-l", "INFO", "-c", "1"], urls(url), app="apps.hooked").wait_ready()
    with Umbel("hooked-client", broker=url, backend=url, set_as_current=False) as client:
        yield client
    assert worker.stop() == 0, worker.log()


def told(path: Path) -> list[str]:
    return wait_until(lambda: found if len(found := notes(path)) >= 2 else [], PATIENCE, "two hooks")


def test_at_the_hard_limit(app: Umbel, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    result = app.send_task("hooked.sleep", (str(path), 60), {"why": "no hurry"}, time_limit=0.2)
    result.get(timeout=PATIENCE, propagate=False)
    assert told(path) == [
        "on_failure hooked.sleep TimeLimitExceeded [60] {'why': 'no hurry'} True TimeLimitExceeded",
        "after_return hooked.sleep FAILURE TimeLimitExceeded",
    ]
    assert result.state == "FAILURE"
    assert type(result.result).__name__ == "TimeLimitExceeded"


def test_of_a_task_that_stores_nothing(app: Umbel, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    result = app.send_task("hooked.silent", (str(path), 60), time_limit=0.2)
    assert told(path)[0] == "on_failure hooked.silent TimeLimitExceeded [60] {} True TimeLimitExceeded"
    assert result.state == "PENDING"


def test_when_the_process_is_lost(app: Umbel, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    result = app.send_task("hooked.die", (str(path),))
    result.get(timeout=PATIENCE, propagate=False)
    assert told(path) == [
        "on_failure hooked.die WorkerLostError [] {} True WorkerLostError",
        "after_return hooked.die FAILURE WorkerLostError",
    ]


def test_when_it_is_a_dead_letter(app: Umbel, tmp_path: Path) -> None:
    path, counter = tmp_path / "notes", tmp_path / "counter"
    app.send_task("hooked.die_often", (str(path), str(counter))).get(timeout=PATIENCE, propagate=False)
    assert told(path)[0].startswith("on_failure hooked.die_often WorkerLostError")
    assert len(notes(counter)) >= 5
