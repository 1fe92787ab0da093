"""The broker goes away and comes back: nothing is lost, and everybody says what is the matter."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from apps import basic
from apps.basic import notes
from servers.redis_server import RedisServer
from servers.stack import PATIENCE
from servers.worker_process import StartWorker, urls, wait_until

from umbel import Umbel
from umbel.exceptions import OperationalError


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """One to be killed; what it acknowledged is on disk."""
    folder = tmp_path / "redis"
    folder.mkdir()
    found = RedisServer(folder, "--appendfsync", "always")
    yield found
    found.stop()


@pytest.fixture
def app(server: RedisServer) -> Umbel:
    return basic.build(broker_url=server.url(), result_backend=server.url())


def test_tasks_survive_a_broker_that_is_killed(
    server: RedisServer, app: Umbel, tmp_path: Path, start_worker: StartWorker
) -> None:
    path = tmp_path / "notes"
    worker = start_worker("-c", "2", env=urls(server.url())).wait_ready()
    results = [app.tasks["basic.note"].delay(str(path), f"task-{number}", 0.02) for number in range(60)]
    wait_until(lambda: len(notes(path)) >= 10, PATIENCE, "the first tasks")
    server.kill()
    worker.wait_for(r"Cannot reach redis://127\.0\.0\.1:\d+/0")
    server.start()
    assert [result.get(timeout=40) for result in results] == [f"task-{number}" for number in range(60)]
    assert set(Counter(notes(path))) == {f"task-{number}" for number in range(60)}
    assert app.tasks["basic.add"].delay(1, 1).get(timeout=PATIENCE) == 2
    assert worker.log().count("Connected to") >= 2
    assert worker.stop() == 0, worker.log()


def test_a_worker_that_starts_first_waits_for_its_broker(
    server: RedisServer, app: Umbel, start_worker: StartWorker
) -> None:
    server.stop()
    worker = start_worker("-c", "1", env=urls(server.url()))
    worker.wait_for(r"Cannot reach .*Trying again in \d")
    server.start()
    worker.wait_ready()
    assert app.tasks["basic.add"].delay(1, 1).get(timeout=PATIENCE) == 2


def test_a_worker_stops_without_its_broker(server: RedisServer, start_worker: StartWorker) -> None:
    worker = start_worker("-c", "1", env=urls(server.url())).wait_ready()
    server.kill()
    worker.wait_for("Cannot reach")
    start = time.monotonic()
    worker.stop(signal.SIGTERM, 45)
    assert time.monotonic() - start < 40
    server.start()


def test_a_worker_gives_up_where_it_is_told_to(server: RedisServer, start_worker: StartWorker) -> None:
    server.stop()
    worker = start_worker("-c", "1", env=urls(server.url()), app="apps.no_retry")
    assert worker.process.wait(PATIENCE) == 1
    assert "after 1 attempts" in worker.log()


def test_delay_gives_up_in_time(server: RedisServer, app: Umbel) -> None:
    assert app.tasks["basic.add"].delay(1, 1).id
    server.kill()
    start = time.monotonic()
    with pytest.raises(OperationalError):
        app.tasks["basic.add"].apply_async((1, 1), retry=False)
    assert time.monotonic() - start < 15
    server.start()
    assert app.tasks["basic.add"].delay(1, 1).id
