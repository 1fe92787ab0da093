"""Result stores in Python on a bad day: a crash between a result and its report, and a store that is away."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from apps import basic
from servers.own_server import MemcachedServer
from servers.worker_process import StartWorker, urls, wait_until

from umbel import Umbel
from umbel.exceptions import OperationalError
from umbel.testing import start_worker as start_worker_here

PATIENCE = 20.0


def test_a_child_that_dies_after_it_has_stored_a_result(tmp_path: Path, start_worker: StartWorker) -> None:
    (tmp_path / "results").mkdir()
    broker = f"sqlite:///{tmp_path}/broker.sqlite3"
    env = {"UMBEL_BROKER_URL": broker, "UMBEL_TEST_FOLDER": str(tmp_path)}
    start_worker("-c", "1", env=env, app="apps.dying_store").wait_ready()
    # What Celery's class writes, our own store reads.
    with Umbel("client", broker=broker, backend=f"file://{tmp_path}/results", set_as_current=False) as app:
        result = app.send_task("count")
        assert result.get(timeout=PATIENCE) == 1
        # The message comes back, since it was not acknowledged; the first result stays.
        wait_until(lambda: (tmp_path / "runs").read_text() == "xx", PATIENCE, "the second run")
        assert app.send_task("count").get(timeout=PATIENCE) == 3
        assert app.AsyncResult(result.id).result == 1
        assert app.client.dead_letters() == []


def test_coroutines_on_one_loop_store_there_too(tmp_path: Path, start_worker: StartWorker) -> None:
    (tmp_path / "results").mkdir()
    broker, results = f"sqlite:///{tmp_path}/broker.sqlite3", f"file://{tmp_path}/results"
    start_worker("-P", "asyncio", "-c", "20", env=urls(broker, results)).wait_ready()
    with basic.build(broker_url=broker, result_backend=results) as app:
        sent = [app.tasks["basic.aadd"].delay(number, 1) for number in range(50)]
        assert app.ResultSet(sent).get(timeout=PATIENCE) == list(range(1, 51))
        with pytest.raises(TypeError):
            app.tasks["basic.aadd"].delay(1, "x").get(timeout=PATIENCE)


def test_a_store_that_is_away_when_a_task_ends() -> None:
    server = MemcachedServer()
    may_end, runs = threading.Event(), []
    try:
        with Umbel("away", broker="memory://away", backend=server.url(), set_as_current=False) as app:

            @app.task(name="work")
            def work() -> str:
                runs.append(1)
                assert may_end.wait(PATIENCE)
                return "done"

            with start_worker_here(app, concurrency=1):
                result = work.delay()
                wait_until(lambda: runs, PATIENCE, "the task")
                assert result.state == "PENDING"
                server.end()
                may_end.set()
                with pytest.raises(OperationalError):
                    app.AsyncResult("other").get(timeout=0.1)
                server.begin()
                assert (result.get(timeout=PATIENCE), runs) == ("done", [1])
    finally:
        server.stop()
