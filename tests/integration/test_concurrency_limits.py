"""Concurrency limits, on every broker."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from apps.basic import notes
from apps.queues import build, most_at_once
from servers.stack import PATIENCE
from servers.worker_process import wait_until

from umbel import Umbel, states
from umbel.exceptions import ImproperlyConfigured, TaskRevokedError
from umbel.pools.app_finder import AppNotFoundError
from umbel.testing import drain, enqueued, start_worker


@pytest.fixture
def app(empty_url: str) -> Umbel:
    """An app on an empty broker."""
    return build(broker_url=empty_url, result_backend=empty_url)


def test_no_more_run_than_the_limit_allows(app: Umbel, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    results = app.tasks["queues.two"].apply_async_many([(str(path), f"{number}", 0.01) for number in range(12)])
    with start_worker(app, concurrency=4):
        assert [result.get(timeout=PATIENCE) for result in results] == [str(number) for number in range(12)]
    assert most_at_once(notes(path)) == 2


def test_others_are_not_kept_waiting(app: Umbel, tmp_path: Path) -> None:
    path, until = tmp_path / "notes", tmp_path / "until"
    hold, free = app.tasks["queues.hold"], app.tasks["queues.free"]
    with start_worker(app, concurrency=2):
        held = [hold.delay(str(path), str(until), f"{number}") for number in range(20)]
        wait_until(lambda: notes(path), PATIENCE, "the first holds its slot")
        assert free.delay(str(tmp_path / "free"), "free", 0.0).get(timeout=PATIENCE) == "free"
        assert len(notes(path)) == 1
        until.touch()
        assert {result.get(timeout=PATIENCE) for result in held} == {str(number) for number in range(20)}


def test_those_that_wait_come_in_their_order(app: Umbel, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    for number in range(8):
        app.tasks["queues.keyed"].delay(str(path), "same", str(number))
    with start_worker(app, concurrency=1):
        wait_until(lambda: len(notes(path)) == 16, PATIENCE, "all have run")
    assert notes(path)[::2] == [f"+same-{number}" for number in range(8)]


def test_each_key_has_its_own_limit(app: Umbel, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    keyed = app.tasks["queues.keyed"]
    calls = [keyed.s(str(path), key, f"{number}", seconds=0.01) for number in range(4) for key in ("a", "b")]
    with start_worker(app, concurrency=4):
        results = [call.apply_async() for call in calls]
        assert len({result.get(timeout=PATIENCE) for result in results}) == 8
    lines = notes(path)
    assert (most_at_once(lines, "a"), most_at_once(lines, "b")) == (1, 1)


def test_a_queue_has_a_limit_for_all_its_tasks(app: Umbel, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    app.conf.task_queue_concurrency_limits = {"slow": 1}
    app.conf.task_queues = {"slow": {}, "fast": {}}
    tasks = [app.tasks["queues.free"], app.tasks["queues.two"]]
    with start_worker(app, concurrency=3):
        results = [
            task.apply_async((str(path), f"{queue}-{number}", 0.01), queue=queue)
            for number, task in enumerate(tasks * 3)
            for queue in ("slow", "fast")
        ]
        assert len({result.get(timeout=PATIENCE) for result in results}) == 12
    assert most_at_once(notes(path), "slow") == 1


def test_one_that_waits_can_be_seen_and_revoked(app: Umbel, tmp_path: Path) -> None:
    path, until = tmp_path / "notes", tmp_path / "until"
    hold = app.tasks["queues.hold"]
    with start_worker(app, concurrency=2):
        first = hold.delay(str(path), str(until), "first")
        wait_until(lambda: notes(path), PATIENCE, "it runs")
        second = hold.delay(str(path), str(until), "second")
        third = hold.delay(str(path), str(until), "third")
        wait_until(lambda: len(enqueued(app)) == 2, PATIENCE, "they wait in the broker")
        second.revoke()
        until.touch()
        with pytest.raises(TaskRevokedError):
            second.get(timeout=PATIENCE)
        assert (first.get(timeout=PATIENCE), third.get(timeout=PATIENCE)) == ("first", "third")
    assert notes(path) == ["first", "third"]


@pytest.mark.parametrize("ending", ["fails", "retries"])
def test_however_it_ends_its_slot_is_free(app: Umbel, ending: str) -> None:
    @app.task(name="queues.ends", bind=True, concurrency_limit=1, max_retries=1)
    def ends(self: Any) -> int:
        if ending == "retries" and self.request.retries == 0:
            raise self.retry(countdown=0)
        if ending == "fails":
            raise ValueError("no")
        return 1

    with start_worker(app, concurrency=2):
        results = [ends.delay() for _ in range(4)]
        for result in results:
            result.get(timeout=PATIENCE, propagate=False)
    assert {result.state for result in results} == {states.FAILURE if ending == "fails" else states.SUCCESS}


def test_draining_runs_all_of_them(app: Umbel, tmp_path: Path) -> None:
    for number in range(6):
        app.tasks["queues.two"].delay(str(tmp_path / "notes"), str(number), 0.0)
    assert drain(app).succeeded == 6


def test_coroutines_are_counted_as_well(app: Umbel) -> None:
    import asyncio

    running, most = 0, 0
    lock = threading.Lock()

    @app.task(name="queues.coroutine", concurrency_limit=2)
    async def coroutine() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        await asyncio.sleep(0.01)
        with lock:
            running -= 1

    with start_worker(app, concurrency=4):
        for result in [coroutine.delay() for _ in range(8)]:
            result.get(timeout=PATIENCE)
    assert most <= 2


Define = Callable[..., Any]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"concurrency_limit": 0}, "concurrency_limit takes a whole number from 1 on, not 0"),
        ({"concurrency_limit": "2"}, "concurrency_limit takes a whole number from 1 on, not '2'"),
        ({"concurrency_key": ["x"]}, "concurrency_key needs a concurrency_limit"),
    ],
)
def test_options_that_are_none(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    app = Umbel("wrong", broker_url=f"memory://{tmp_path.name}", set_as_current=False)
    task = app.task(name="wrong.task", **options)(lambda x: x)
    with pytest.raises(ImproperlyConfigured, match=message):
        task.delay(1)
    with pytest.raises(AppNotFoundError, match=message), start_worker(app):
        pass


def test_a_key_that_names_no_parameter(tmp_path: Path) -> None:
    app = Umbel("wrong", broker_url=f"memory://{tmp_path.name}", set_as_current=False)
    task = app.task(name="wrong.task", concurrency_limit=1, concurrency_key=["which"])(lambda x: x)
    with pytest.raises(TypeError, match=r"concurrency_key of wrong\.task names no parameter: which"):
        task.delay(1)


def test_a_queue_limit_that_is_none(tmp_path: Path) -> None:
    app = Umbel("wrong", broker_url=f"memory://{tmp_path.name}", set_as_current=False)
    app.conf.task_queue_concurrency_limits = {"slow": -1}
    with (
        pytest.raises(ImproperlyConfigured, match="task_queue_concurrency_limits: queue slow takes a whole number"),
        start_worker(app),
    ):
        pass
