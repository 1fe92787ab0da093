"""Concurrency limits over several worker processes, some of which are killed."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from apps import queues
from apps.basic import notes
from servers.stack import PATIENCE
from servers.worker_process import StartWorker, urls, wait_until

from umbel import Umbel


@pytest.fixture
def app(url: str) -> Umbel:
    """The client's side."""
    return queues.build(broker_url=url, result_backend=url)


def test_a_limit_holds_over_all_workers(app: Umbel, url: str, tmp_path: Path, start_worker: StartWorker) -> None:
    path = tmp_path / "notes"
    for name in ("one", "two"):
        start_worker("-c", "3", "-n", name, env=urls(url), app="apps.queues")
    calls = [(str(path), f"task-{number}", 0.02) for number in range(40)]
    results = app.tasks["queues.two"].apply_async_many(calls)
    free = app.tasks["queues.free"].apply_async_many(
        [(str(tmp_path / "free"), str(number), 0.0) for number in range(40)]
    )
    assert [result.get(timeout=PATIENCE) for result in results] == [f"task-{number}" for number in range(40)]
    assert [result.get(timeout=PATIENCE) for result in free] == [str(number) for number in range(40)]
    assert queues.most_at_once(notes(path)) == 2


@pytest.mark.parametrize("task", ["queues.hold", "queues.hold_early"])
def test_a_killed_workers_slots_are_free_when_its_lease_is_over(
    app: Umbel, url: str, tmp_path: Path, start_worker: StartWorker, task: str
) -> None:
    path, until = tmp_path / "notes", tmp_path / "until"
    hold = app.tasks[task]
    first = start_worker("-c", "1", "-n", "first", env=urls(url), app="apps.queues").wait_ready()
    hold.delay(str(path), str(until), "first")
    wait_until(lambda: notes(path), PATIENCE, "it holds the slot")
    start_worker("-c", "1", "-n", "second", env=urls(url), app="apps.queues").wait_ready()
    waits = hold.delay(str(path), str(until), "waits")
    if task == "queues.hold":
        # The first has no room for it; one that acknowledged its task early may take another along.
        free = app.tasks["queues.free"].delay(str(tmp_path / "free"), "free", 0.0)
        assert free.get(timeout=PATIENCE) == "free", "the second worker is at work, and has no slot for the other"
    assert notes(path) == ["first"]
    first.send_signal(signal.SIGKILL)
    first.process.wait()
    until.touch()
    assert waits.get(timeout=PATIENCE) == "waits"
    # One that was acknowledged when it started does not run again.
    ran = {"queues.hold": ["first", "first", "waits"], "queues.hold_early": ["first", "waits"]}
    wait_until(lambda: sorted(notes(path)) == ran[task], PATIENCE, "each has run")
