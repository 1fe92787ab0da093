"""A worker on each kind of broker, started once; tests run on all of them from one source."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from apps import basic
from servers.redis_server import RedisServer
from servers.stack import Stack
from servers.worker_process import WorkerProcess, urls

from umbel import Umbel
from umbel.testing import start_worker as start_worker_here

#: Pickle is accepted here to test it; the tests may run as root.
ACCEPT = {"accept_content": ["json", "msgpack", "yaml", "pickle"], "worker_concurrency": 2}


@contextlib.contextmanager
def in_process() -> Iterator[Stack]:
    app = basic.build(broker_url="memory://", result_backend="memory://", **ACCEPT)
    with start_worker_here(app, concurrency=4):
        yield Stack("memory", "memory://", app, None)
    app.close()


@contextlib.contextmanager
def in_processes(kind: str, url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    app = basic.build(broker_url=url, result_backend=url, **ACCEPT)
    folder = tmp_path_factory.mktemp(kind)
    worker = WorkerProcess(
        folder, ["-l", "INFO", "-c", "2", "-n", kind], {**urls(url), "C_FORCE_ROOT": "1"}, app="apps.accepting"
    )
    try:
        yield Stack(kind, url, app, worker.wait_ready())
    finally:
        app.close()
        assert worker.stop() == 0, worker.log()


@pytest.fixture(scope="session", params=["memory", "sqlite", "redis"])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Each broker in turn."""
    if request.param == "memory":
        with in_process() as found:
            yield found
        return
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('db')}/umbel.sqlite3"
    else:
        server: RedisServer = request.getfixturevalue("redis_server")
        url = server.url(1)
    with in_processes(request.param, url, tmp_path_factory) as found:
        yield found


@pytest.fixture(params=["memory", "sqlite", "redis"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Each broker in turn, empty and for one test."""
    if request.param == "memory":
        return f"memory://{tmp_path.name}"
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/umbel.sqlite3"
    url: str = request.getfixturevalue("redis_url")
    return url


@pytest.fixture
def app(stack: Stack) -> Umbel:
    """The client's side."""
    return stack.app
