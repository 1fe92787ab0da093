"""Batches in worker processes, one of which is killed."""

from __future__ import annotations

import os
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


@pytest.mark.parametrize("victim", ["worker", "child"])
def test_whoever_dies_with_a_batch_loses_none_of_it(
    app: Umbel, url: str, tmp_path: Path, start_worker: StartWorker, victim: str
) -> None:
    path = tmp_path / "notes"
    options = ("-c", "1", "--prefetch-multiplier", "1", "-n", "first")
    first = start_worker(*options, env=urls(url), app="apps.queues").wait_ready()
    # The first five run for long, the others gather behind them.
    results = app.tasks["queues.batch"].apply_async_many([(str(path), str(number), 30.0) for number in range(5)])
    wait_until(lambda: notes(path), PATIENCE, "the first batch runs")
    assert sorted(notes(path)[0][1:].split(",")) == ["0", "1", "2", "3", "4"]
    quick = str(tmp_path / "more")
    more = app.tasks["queues.batch"].apply_async_many([(quick, str(number), 0.0) for number in range(5, 12)])
    before = len(notes(path))
    if victim == "worker":
        first.send_signal(signal.SIGKILL)
        first.process.wait()
        start_worker("-c", "6", "-n", "second", env=urls(url), app="apps.queues")
    else:
        start_worker("-c", "5", "-n", "second", env=urls(url), app="apps.queues").wait_ready()
        os.kill(first.task_children(1)[0], signal.SIGKILL)
    wait_until(lambda: len(notes(path)) >= before + 5, PATIENCE, "they run again, one by one")
    assert sorted(line[1:] for line in notes(path)[before:]) == ["0", "1", "2", "3", "4"]
    assert sorted(result.get(timeout=PATIENCE) for result in more) == sorted(str(number) for number in range(5, 12))
    assert not any(result.ready() for result in results)
