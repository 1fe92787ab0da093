"""What Umbel keeps in the broker for its queues is invisible to Celery's workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from apps.basic import notes
from apps.compat_tasks import define, settings
from servers.worker_process import WorkerProcess

from umbel import Umbel

PATIENCE = 30.0


def unique_app(url: str) -> Umbel:
    app = Umbel("compat", set_as_current=False, changes=settings(url))
    define(app, "umbel client")
    app.tasks["compat.note"].unique = True
    app.tasks["compat.note"].rate_limit = "100/s"
    return app


def test_a_unique_task_runs_in_either_worker(
    compat_url: str, workers: dict[str, WorkerProcess], worker: str, notes_path: Path
) -> None:
    app = unique_app(compat_url)
    note: Any = app.tasks["compat.note"]
    options = {"queue": f"for-{worker}", "countdown": 1}
    first, again = (note.apply_async((str(notes_path), "once"), **options) for _ in range(2))
    assert again.id == first.id
    assert first.get(timeout=PATIENCE) == worker
    assert notes(notes_path) == [f"once {worker}"]
    app.close()
