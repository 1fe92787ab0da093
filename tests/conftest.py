"""Servers and workers that tests share; see `servers/`."""

from __future__ import annotations

import itertools
import shutil
import signal
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from servers.own_server import MariaServer, MemcachedServer, PostgresServer
from servers.rabbit_server import RabbitServer
from servers.redis_server import RedisServer, require_redis
from servers.worker_process import StartWorker, WorkerProcess

# A shell that runs the tests in the background has them, and every process they start, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What tests of lone surrogates log is to travel between the processes that share the tests."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One for the session; tests use databases of their own (`redis_url`)."""
    require_redis()
    folder = Path(tempfile.mkdtemp(prefix="umbel-redis-"))
    server = RedisServer(folder)
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One for the session."""
    server = PostgresServer()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def maria_server() -> Iterator[MariaServer]:
    """One for the session."""
    server = MariaServer()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def memcached_server() -> Iterator[MemcachedServer]:
    """One for the session."""
    server = MemcachedServer()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def rabbit_server() -> Iterator[RabbitServer]:
    """One for the session, for it takes seconds to start; tests use virtual hosts of their own (`rabbit_url`)."""
    server = RabbitServer()
    yield server
    server.stop()


@pytest.fixture
def rabbit_url(rabbit_server: RabbitServer) -> Iterator[str]:
    """An empty virtual host."""
    vhost = rabbit_server.new_vhost()
    yield rabbit_server.url(vhost)
    rabbit_server.drop_vhost(vhost)


_databases = itertools.count(1)


@pytest.fixture
def redis_url(redis_server: RedisServer) -> Iterator[str]:
    """An empty database. Numbers come round again, so it is emptied afterwards."""
    number = next(_databases) % 55 + 3
    yield redis_server.url(number)
    with redis_server.connect(number) as connection:
        connection.flushdb()


@pytest.fixture(scope="module")
def redis_urls(redis_server: RedisServer) -> Iterator[list[str]]:
    """Five empty databases, for the fixtures of one file."""
    numbers = range(58, 63)
    yield [redis_server.url(number) for number in numbers]
    for number in numbers:
        with redis_server.connect(number) as connection:
            connection.flushdb()


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[StartWorker]:
    """Starts worker processes, which are ended after the test: killed if need be."""
    started: list[WorkerProcess] = []

    def start(*arguments: str, env: dict[str, str], **options: object) -> WorkerProcess:
        worker = WorkerProcess(tmp_path, ("-l", "INFO", *arguments), env, **options)  # type: ignore[arg-type]
        started.append(worker)
        return worker

    yield start
    for worker in started:
        if worker.process.poll() is None:
            worker.process.kill()
            worker.process.wait()
