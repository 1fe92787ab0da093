"""Notes every signal of a worker's life with the pid of the process it came in."""

from __future__ import annotations

import os
from typing import Any

from apps.basic import note

from umbel import Umbel, signals

NAMES = (
    "worker_init",
    "worker_ready",
    "worker_shutting_down",
    "worker_shutdown",
    "worker_process_init",
    "worker_process_shutdown",
    "task_prerun",
    "task_postrun",
    "task_success",
    "task_failure",
    "task_received",
    "task_revoked",
    "task_unknown",
)

app = Umbel("signals")


def connect(name: str) -> None:
    """A receiver that notes the signal of that name."""

    def receiver(**given: Any) -> None:
        what = {key: given[key] for key in ("terminated", "signum", "expired", "name") if key in given}
        more = f" {given['sender']} {given['request'].id} {what}" if name == "task_revoked" else ""
        note(os.environ["UMBEL_TEST_SIGNALS"], f"{name} {os.getpid()}{more}")

    getattr(signals, name).connect(receiver, weak=False)


for each in NAMES:
    connect(each)


@app.task(name="signals.add")
def add(x: int, y: int) -> int:
    """A task that succeeds."""
    return x + y


@app.task(name="signals.fail")
def fail() -> None:
    """One that does not."""
    raise ValueError("no")
