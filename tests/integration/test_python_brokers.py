"""A worker and a client on the example broker, in processes of their own."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from apps import basic
from apps.basic import notes
from servers import worker_process
from servers.directory_broker import FOLDER
from servers.stack import PATIENCE
from servers.worker_process import StartWorker, urls, wait_until

from umbel import Umbel
from umbel.testing import start_worker as start_worker_here


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    """Broker and result store."""
    return {
        "broker_url": f"directory:DirectoryBroker://{tmp_path}/broker",
        "result_backend": f"sqlite:///{tmp_path}/results.sqlite3",
    }


@pytest.fixture
def app(settings: dict[str, str]) -> Iterator[Umbel]:
    """The client's side."""
    app = basic.build(**settings)
    yield app
    app.close()


@pytest.fixture
def environment(settings: dict[str, str]) -> dict[str, str]:
    """Of workers."""
    path = os.pathsep.join([str(FOLDER), worker_process.environment()["PYTHONPATH"]])
    return {**urls(settings["broker_url"], settings["result_backend"]), "PYTHONPATH": path}


def test_tasks_run_and_wait_for_their_time(app: Umbel, environment: dict[str, str], start_worker: StartWorker) -> None:
    worker = start_worker("-c", "2", env=environment).wait_ready()
    add = app.tasks["basic.add"]
    results = [add.delay(number, 1) for number in range(20)]
    later = add.apply_async((1, 1), countdown=1)
    assert [result.get(timeout=PATIENCE) for result in results] == list(range(1, 21))
    assert later.get(timeout=PATIENCE) == 2
    assert worker.stop() == 0
    assert app.client.queue_length("celery") == 0


def test_a_dead_workers_tasks_are_run_by_another(
    app: Umbel, environment: dict[str, str], start_worker: StartWorker, tmp_path: Path
) -> None:
    told = {"env": environment, "app": "apps.shortest_lease"}
    first = start_worker("-c", "1", **told).wait_ready()
    started, go = tmp_path / "started", tmp_path / "go"
    result = app.tasks["basic.hold"].delay(str(started), str(go))
    wait_until(started.exists, PATIENCE, "the task")
    first.process.kill()
    first.process.wait()
    second = start_worker("-c", "1", **told).wait_ready()
    wait_until(lambda: len(notes(started)) == 2, PATIENCE, "the task's second run")
    go.touch()
    assert result.get(timeout=PATIENCE) == "held"
    assert second.stop() == 0


def test_the_worker_counts_slots_for_a_broker_that_cannot(settings: dict[str, str]) -> None:
    app = Umbel("limited", set_as_current=False, changes=settings)
    running: list[int] = []
    most: list[int] = []

    @app.task(name="limited.alone", concurrency_limit=1)
    def alone(number: int) -> int:
        running.append(number)
        most.append(len(running))
        time.sleep(0.05)
        running.remove(number)
        return number

    with start_worker_here(app, concurrency=3):
        results = [alone.delay(number) for number in range(3)]
        assert sorted(result.get(timeout=PATIENCE) for result in results) == [0, 1, 2]
    assert most == [1, 1, 1]
    app.close()
