"""Tasks whose hooks note what they are told."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from apps.basic import note

from umbel import Task, Umbel

app = Umbel("hooked")


class Hooked(Task[..., Any]):
    """Notes each hook in the file that is the first argument."""

    abstract = True

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Notes the exception, and whether the request is that of the task."""
        known = self.request.id == task_id
        note(
            args[0],
            f"on_failure {self.name} {type(exc).__name__} {list(args[1:])} {kwargs} {known} {einfo.type.__name__}",
        )

    def after_return(self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Notes the state."""
        note(args[0], f"after_return {self.name} {status} {type(retval).__name__}")


@app.task(name="hooked.sleep", base=Hooked)
def sleep(path: str, seconds: float, why: str = "") -> None:
    """Sleeps."""
    time.sleep(seconds)


@app.task(name="hooked.silent", base=Hooked, ignore_result=True)
def silent(path: str, seconds: float) -> None:
    """Sleeps, and nobody wants to know."""
    time.sleep(seconds)


@app.task(name="hooked.die", base=Hooked, reject_on_worker_lost=False)
def die(path: str) -> None:
    """Its process is killed, and it is not run again."""
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="hooked.die_often", base=Hooked)
def die_often(path: str, counter: str) -> None:
    """Its process is killed as often as it is run."""
    note(counter, f"{os.getpid()}")
    # So that the child has come to say which task it runs: the count of deliveries is exact then.
    time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGKILL)
