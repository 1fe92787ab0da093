"""What waits with priorities is served in one order by either worker, whoever published it."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from apps.basic import notes
from servers.celery_command import CELERY, QUIET
from servers.worker_process import StartWorker, wait_until

ORDER = [0, 3, 6, 9]


@pytest.mark.parametrize(("sender", "runner"), [("celery", "umbel"), ("umbel", "celery"), ("umbel", "umbel")])
def test_order(
    sender: str,
    runner: str,
    request: pytest.FixtureRequest,
    compat_url: str,
    notes_path: Path,
    start_worker: StartWorker,
) -> None:
    producer: Any = request.getfixturevalue(f"{sender}_app")
    task = producer.tasks["compat.note"]
    queue = f"priorities-{sender}-{runner}"
    for priority in [9, 3, 0, 6, 0, 9, 6, 3]:
        task.apply_async((str(notes_path), str(priority)), queue=queue, priority=priority)
    command: dict[str, Any] = {"command": CELERY} if runner == "celery" else {}
    quiet = QUIET if runner == "celery" else ()
    env = {"UMBEL_TEST_URL": compat_url, "PYTHONWARNINGS": "ignore"}
    worker = start_worker("-c", "1", "-Q", queue, "-n", queue, *quiet, env=env, app=f"apps.compat_{runner}", **command)
    wait_until(lambda: len(notes(notes_path)) == 8, 60, "all tasks")
    assert [int(line.split()[0]) for line in notes(notes_path)] == sorted(ORDER * 2)
    worker.stop(signal.SIGTERM)
