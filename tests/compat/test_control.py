"""Remote control between Celery and Umbel: whoever commands, and whoever works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from apps.basic import notes
from servers.worker_process import WorkerProcess, wait_until

from umbel import Umbel

PATIENCE = 30.0


def send(producer: Any, worker: str, name: str, *args: Any, **options: Any) -> Any:
    """A call of `compat.NAME` for the queue of that worker."""
    return producer.tasks[f"compat.{name}"].apply_async(args, queue=f"for-{worker}", **options)


def test_both_answer_both(workers: dict[str, WorkerProcess], producer: Any) -> None:
    answers = producer.control.ping(timeout=PATIENCE, limit=2)
    names = sorted(name.split("@")[0] for answer in answers for name in answer)
    assert names == ["celery", "umbel"]
    assert all(answer == {"ok": "pong"} for each in answers for answer in each.values())


def test_a_task_that_waits_is_revoked(producer: Any, worker: str, readers: list[Any], notes_path: Path) -> None:
    result = send(producer, worker, "note", str(notes_path), "ran", countdown=2)
    producer.control.revoke(result.id, reply=True, limit=2, timeout=PATIENCE)
    for reader in readers:
        seen = reader.AsyncResult(result.id)
        with pytest.raises(Exception, match="revoked") as caught:
            seen.get(timeout=PATIENCE)
        assert type(caught.value).__name__ == "TaskRevokedError"
        assert seen.state == "REVOKED"
    assert notes(notes_path) == []


def test_a_task_that_runs_is_terminated(producer: Any, worker: str, umbel_app: Umbel, tmp_path: Path) -> None:
    result = send(producer, worker, "progress", str(tmp_path / "never"))
    wait_until(lambda: result.state == "PROGRESS", PATIENCE, "the task runs")
    result.revoke(terminate=True, signal="SIGKILL")
    with pytest.raises(Exception, match="terminated") as caught:
        umbel_app.AsyncResult(result.id).get(timeout=PATIENCE)
    assert type(caught.value).__name__ == "TaskRevokedError"
    assert send(producer, worker, "add", 1, 1).get(timeout=PATIENCE) == 2
