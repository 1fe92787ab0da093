"""Genuine Celery on one end and Umbel on the other, on one Redis: clients of both and a worker of both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apps.compat_tasks import define, settings
from servers.celery_command import CELERY, QUIET
from servers.redis_server import RedisServer
from servers.worker_process import WorkerProcess

from umbel import Umbel

celery = pytest.importorskip("celery", reason="Celery is needed to test against it")


@pytest.fixture(scope="session")
def compat_url(redis_server: RedisServer) -> str:
    """The database they share."""
    return redis_server.url(2)


@pytest.fixture(scope="session")
def celery_app(compat_url: str) -> Iterator[Any]:
    """A Celery client."""
    app = celery.Celery("compat", set_as_current=False)
    app.conf.update(settings(compat_url))
    define(app, "celery client")
    yield app
    # Celery's results unsubscribe when they are collected, which may be after Redis has ended.
    app.backend.result_consumer.cancel_for = lambda _task_id: None
    app.close()


@pytest.fixture(scope="session")
def umbel_app(compat_url: str) -> Iterator[Umbel]:
    """An Umbel client."""
    app = Umbel("compat", set_as_current=False, changes=settings(compat_url))
    define(app, "umbel client")
    yield app
    app.close()


@pytest.fixture(scope="session")
def workers(compat_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, WorkerProcess]]:
    """One of each, on a queue of its own and on one they share."""
    folder = tmp_path_factory.mktemp("compat")
    env = {"UMBEL_TEST_URL": compat_url, "PYTHONWARNINGS": "ignore"}
    started = {
        "umbel": WorkerProcess(
            folder, ["-c", "2", "-Q", "for-umbel,shared,celery", "-n", "umbel", "-l", "INFO"], env, "apps.compat_umbel"
        ),
        "celery": WorkerProcess(
            folder,
            ["-c", "2", "-Q", "for-celery,shared,celery", "-n", "celery", *QUIET],
            env,
            "apps.compat_celery",
            CELERY,
        ),
    }
    try:
        for worker in started.values():
            worker.wait_ready(60)
        yield started
    finally:
        for worker in started.values():
            worker.stop()


@pytest.fixture(params=["celery", "umbel"])
def producer(request: pytest.FixtureRequest) -> Any:
    """Each client in turn."""
    return request.getfixturevalue(f"{request.param}_app")


@pytest.fixture(params=["celery", "umbel"])
def worker(request: pytest.FixtureRequest, workers: dict[str, WorkerProcess]) -> str:
    """Name of each worker in turn; its queue is `for-` that name."""
    name: str = request.param
    assert name in workers
    return name


@pytest.fixture
def readers(celery_app: Any, umbel_app: Umbel) -> list[Any]:
    """Both clients: a result is the same to either."""
    return [celery_app, umbel_app]


@pytest.fixture
def notes_path(tmp_path: Path) -> Path:
    """Where tasks note that they ran."""
    return tmp_path / "notes"
