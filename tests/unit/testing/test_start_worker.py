"""`umbel.testing.start_worker`, as users use it in their tests."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from umbel import Umbel
from umbel.exceptions import ImproperlyConfigured
from umbel.testing import start_worker


@pytest.fixture
def app() -> Umbel:
    app = Umbel("testing", broker="memory://", backend="memory://", set_as_current=False)

    @app.task(name="where")
    def where() -> str:
        return threading.current_thread().name

    @app.task(name="wait")
    def wait(seconds: float) -> str:
        time.sleep(seconds)
        return "waited"

    return app


@pytest.mark.parametrize("pool", ["threads", "solo"])
def test_tasks_run_while_the_block_does(app: Umbel, pool: Any) -> None:
    before = threading.active_count()
    with start_worker(app, pool=pool, concurrency=2) as worker:
        name = app.tasks["where"].delay().get(timeout=10)
        assert worker.ready.is_set()
    assert name.startswith("ThreadPoolWorker" if pool == "threads" else "umbel-test-worker")
    assert threading.active_count() == before


def test_one_after_the_other(app: Umbel) -> None:
    for _ in range(5):
        with start_worker(app):
            assert app.tasks["where"].delay().get(timeout=10)


def test_tasks_that_run_at_the_end_are_finished(app: Umbel) -> None:
    with start_worker(app, concurrency=2):
        results = [app.tasks["wait"].delay(0.2) for _ in range(2)]
        while app.client.queue_length("celery"):
            time.sleep(0.001)
    assert [result.get(timeout=5) for result in results] == ["waited", "waited"]


def test_a_worker_that_cannot_start_says_why(app: Umbel) -> None:
    with pytest.raises(ImproperlyConfigured, match="no pool 'fibers'"), start_worker(app, pool="fibers"):  # type: ignore[arg-type]
        pytest.fail("it must not run")


def test_an_error_in_the_block_passes_and_the_worker_ends(app: Umbel) -> None:
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError), start_worker(app):
        raise ZeroDivisionError
    assert threading.active_count() == before


def test_a_task_may_ask_the_worker_to_stop(app: Umbel) -> None:
    from umbel.exceptions import WorkerShutdown

    @app.task(name="stop")
    def stop() -> None:
        raise WorkerShutdown("enough")

    with start_worker(app) as worker:
        app.tasks["stop"].delay()
        deadline = time.monotonic() + 10
        while not worker.stopped.is_set() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert worker.stopped.is_set()


def test_a_soft_limit_does_nothing_in_a_thread(app: Umbel, capfd: pytest.CaptureFixture[str]) -> None:
    with start_worker(app):
        assert app.tasks["wait"].apply_async((0.3,), soft_time_limit=0.1).get(timeout=5) == "waited"
    assert "Current thread" not in capfd.readouterr().err
