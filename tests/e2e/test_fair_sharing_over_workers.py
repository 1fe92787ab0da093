"""A queue shared fairly by worker processes, one of which is killed."""

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


def test_a_killed_worker_takes_no_line_along(app: Umbel, url: str, tmp_path: Path, start_worker: StartWorker) -> None:
    path = tmp_path / "notes"
    fair = app.tasks["queues.fair"]
    many = fair.apply_async_many([(str(path), f"many-{number}", 0.02) for number in range(120)], fair_key="many")
    few = fair.apply_async_many([(str(path), f"few-{number}", 0.02) for number in range(10)], fair_key="few")
    first = start_worker("-c", "1", "-n", "first", env=urls(url), app="apps.queues").wait_ready()
    wait_until(lambda: len(notes(path)) >= 10, PATIENCE, "it is at work")
    first.send_signal(signal.SIGKILL)
    first.process.wait()
    start_worker("-c", "2", "-n", "second", env=urls(url), app="apps.queues")
    assert [result.get(timeout=PATIENCE) for result in few] == [f"few-{number}" for number in range(10)]
    done_before = sum(line.startswith("-many") for line in notes(path))
    assert done_before < 100, "not behind all of the other"
    assert [result.get(timeout=PATIENCE) for result in many] == [f"many-{number}" for number in range(120)]
