"""A result backend, as somebody may have written it for Celery, whose process dies right after it has stored."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from celery.backends.filesystem import FilesystemBackend

from umbel import Umbel

FOLDER = Path(os.environ.get("UMBEL_TEST_FOLDER", "/nowhere"))


class DyingBackend(FilesystemBackend):
    """The first success is its process's last act."""

    def _set_with_state(self, key: Any, value: Any, state: str) -> Any:
        self.set(key, value)
        died = FOLDER / "died"
        if state == "SUCCESS" and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)


app = Umbel("dying", backend=f"apps.dying_store:DyingBackend+file://{FOLDER}/results")


@app.task(name="count", bind=True)
def count(self: Any) -> int:
    """How often it has run."""
    with open(FOLDER / "runs", "a") as runs:
        runs.write("x")
    return (FOLDER / "runs").stat().st_size
