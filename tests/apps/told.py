"""Notes every signal of Celery's or Umbel's (`UMBEL_TEST_LIBRARY`): its name, its sender, its arguments."""

from __future__ import annotations

import importlib
import json
import os
from typing import Any

from apps.basic import note, wait_for_file

LIBRARY = os.environ.get("UMBEL_TEST_LIBRARY", "umbel")
library = importlib.import_module(LIBRARY)
signals = importlib.import_module(f"{LIBRARY}.signals")
exceptions = importlib.import_module(f"{LIBRARY}.exceptions")

#: A receiver of this one takes the place of all set-up, and the two signals behind it are not sent.
ALONE = "setup_logging"
#: Arguments whose values tell something.
SHOWN = ("terminated", "signum", "expired", "how", "sig", "state", "name")

URL = os.environ.get("UMBEL_TEST_URL", "redis://127.0.0.1:1/0")
app = library.Celery("told", broker=URL, backend=URL)
app.conf.task_acks_late = True


def kind_of(sender: Any) -> str:
    """What a sender is, whichever library's."""
    if sender is None or isinstance(sender, str):
        return f"{sender}".split("@")[0]
    if isinstance(sender, library.Celery):
        return "the app"
    if isinstance(sender, library.Task):
        return f"the task {sender.name}"
    return "a part of the worker"


def connect(name: str) -> None:
    """A receiver that notes the signal of that name."""

    def receiver(signal: Any, sender: Any, **given: Any) -> None:
        shown = {key: given[key] for key in SHOWN if key in given}
        if name == "task_received":
            # Celery's request of the main process has another name for it.
            shown["task"] = getattr(given["request"], "name", None) or given["request"].task
        line = [name, kind_of(sender), sorted(given), shown]
        note(os.environ["UMBEL_TEST_SIGNALS"], json.dumps(line))

    getattr(signals, name).connect(receiver, weak=False)


for each, found in vars(signals).items():
    if hasattr(found, "connect") and hasattr(found, "receivers") and each != ALONE:
        connect(each)


@app.task(name="told.add")
def add(x: int, y: int) -> int:
    """Succeeds."""
    return x + y


@app.task(name="told.fail")
def fail() -> None:
    """Fails."""
    raise ValueError("no")


@app.task(name="told.retry", bind=True)
def retry(self: Any) -> None:
    """Succeeds the second time."""
    if not self.request.retries:
        raise self.retry(countdown=0)


@app.task(name="told.reject")
def reject() -> None:
    """Is rejected."""
    raise exceptions.Reject("no", requeue=False)


@app.task(name="told.send")
def send() -> None:
    """Sends another task."""
    add.apply_async((1, 2))


@app.task(name="told.hold")
def hold(path: str, until: str) -> None:
    """Runs until the file exists."""
    note(path, "runs")
    wait_for_file(until)


@app.task(name="told.limited")
def limited(until: str) -> None:
    """Runs until its time limit."""
    wait_for_file(until)
