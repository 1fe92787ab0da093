"""Result stores in Python on a bad day: a crash between a result and its report, and a store that is away."""

from __future__ import annotations

import threading
from pathlib import Path

from servers.worker_process import StartWorker, wait_until

from umbel import Umbel
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


def test_a_store_that_is_away_for_a_while(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    may_end, runs = threading.Event(), []
    with Umbel("away", broker="memory://away", backend=f"file://{folder}", set_as_current=False) as app:

        @app.task(name="work")
        def work() -> str:
            runs.append(1)
            assert may_end.wait(PATIENCE)
            return "done"

        with start_worker_here(app, concurrency=1):
            result = work.delay()
            wait_until(lambda: runs, PATIENCE, "the task")
            away = folder.rename(tmp_path / "away")
            may_end.set()
            waiting = threading.Thread(target=lambda: result.get(timeout=PATIENCE))
            waiting.start()
            away.rename(folder)
            waiting.join()
            assert (result.get(timeout=PATIENCE), runs) == ("done", [1])
