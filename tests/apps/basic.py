"""The tasks of the tests.

Workers import `app`, whose URLs come from the environment; tests make apps of their own with `build`.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from umbel import Umbel
from umbel.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from umbel.utils.log import get_task_logger

logger = get_task_logger(__name__)

SETTINGS = {
    "task_track_started": False,
    "task_routes": {"basic.routed": {"queue": "elsewhere"}},
    "result_expires": 600,
}


class OwnError(Exception):
    """An exception that both sides can import."""


def note(path: str, text: str) -> None:
    """Appends a line in one write, so that lines of several processes do not mix."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(descriptor, f"{text}\n".encode())
    finally:
        os.close(descriptor)


def notes(path: str | Path) -> list[str]:
    """The lines noted so far."""
    try:
        return Path(path).read_text().splitlines()
    except FileNotFoundError:
        return []


def wait_for_file(path: str, seconds: float = 60.0) -> None:
    """Blocks until a test creates the file."""
    deadline = time.monotonic() + seconds
    while not Path(path).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(path)
        time.sleep(0.01)


def build(**settings: Any) -> Umbel:
    """An app with the tasks of the tests."""
    app = Umbel("basic", **{**SETTINGS, **settings})
    define(app)
    define_endings(app)
    define_retries(app)
    return app


def define(app: Umbel) -> None:
    """Plain tasks."""

    @app.task(name="basic.add")
    def add(x: Any, y: Any) -> Any:
        return x + y

    @app.task(name="basic.echo")
    def echo(*args: Any, **kwargs: Any) -> Any:
        return [list(args), kwargs]

    @app.task(name="basic.aadd")
    async def aadd(x: int, y: int) -> int:
        await asyncio.sleep(0)
        return x + y

    @app.task(name="basic.request", bind=True)
    def request(self: Any) -> dict[str, Any]:
        info = self.request
        return {
            "id": info.id, "pid": os.getpid(), "thread": threading.current_thread().name, "hostname": info.hostname,
            "retries": info.retries, "queue": (info.delivery_info or {}).get("routing_key"), "headers": info.headers,
            "redelivered": bool((info.delivery_info or {}).get("redelivered")),
        }  # fmt: skip

    @app.task(name="basic.note")
    def note_task(path: str, text: str, seconds: float = 0.0) -> str:
        if seconds:
            time.sleep(seconds)
        note(path, text)
        return text

    @app.task(name="basic.hold")
    def hold(path: str, until: str, text: str = "held") -> str:
        """Notes its pid, then runs until the file exists."""
        note(path, f"{text} {os.getpid()}")
        wait_for_file(until)
        return text

    @app.task(name="basic.timed")
    def timed(path: str) -> None:
        note(path, str(time.time()))

    @app.task(name="basic.unserializable")
    def unserializable() -> object:
        return object()

    @app.task(name="basic.routed")
    def routed() -> str:
        return "routed"

    @app.task(name="basic.log")
    def log(text: str) -> None:
        logger.warning(text)
        print(f"printed {text}")

    @app.task(name="basic.progress", bind=True)
    def progress(self: Any, until: str) -> str:
        self.update_state(state="PROGRESS", meta={"done": 1})
        wait_for_file(until)
        return "complete"

    @app.task(name="basic.tracked", track_started=True)
    def tracked(until: str) -> str:
        wait_for_file(until)
        return "complete"

    @app.task(name="basic.silent", ignore_result=True)
    def silent(path: str) -> str:
        note(path, "ran")
        return "nobody sees this"

    @app.task(name="basic.grow")
    def grow(kib: int) -> int:
        """Keeps memory for the rest of the process's life."""
        _kept.append(b"x" * (kib * 1024))
        return os.getpid()


_kept: list[bytes] = []


def define_endings(app: Umbel) -> None:
    """Tasks that end otherwise than by returning."""

    @app.task(name="basic.fail")
    def fail(kind: str, *args: Any) -> None:
        errors: dict[str, type[BaseException]] = {
            "own": OwnError,
            "value": ValueError,
            "key": KeyError,
            "exit": SystemExit,
        }
        raise errors[kind](*args)

    @app.task(name="basic.ignored")
    def ignored(path: str) -> None:
        note(path, "ran")
        raise Ignore

    @app.task(name="basic.reject")
    def reject(path: str, requeue: bool) -> str:
        if notes(path):
            return "second time"
        note(path, "ran")
        raise Reject("not today", requeue=requeue)

    @app.task(name="basic.soft")
    def soft(seconds: float) -> str:
        try:
            time.sleep(seconds)
        except SoftTimeLimitExceeded:
            return "interrupted"
        return "undisturbed"

    @app.task(name="basic.sleep")
    def sleep(seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    @app.task(name="basic.die")
    def die(path: str, times: int, status: int = 9) -> str:
        """Ends its process so many times."""
        if len(notes(path)) < times:
            note(path, str(os.getpid()))
            # So that the child has come to say which task it runs: the count of deliveries is exact then.
            time.sleep(0.05)
            if status == 0:
                os._exit(0)
            os.kill(os.getpid(), status)
            time.sleep(60)
        return "survived"

    @app.task(name="basic.close_streams")
    def close_streams() -> str:
        sys.stdout.close()
        sys.stderr.close()
        logger.warning("streams are closed")
        return "closed"


def define_retries(app: Umbel) -> None:
    """Tasks that try again."""

    @app.task(name="basic.retry", bind=True, max_retries=5)
    def retry(self: Any, path: str, times: int, countdown: float = 0.0) -> int:
        note(path, f"{self.request.retries} {time.time()}")
        if self.request.retries < times:
            raise self.retry(countdown=countdown)
        return int(self.request.retries)

    @app.task(name="basic.give_up", bind=True, max_retries=1)
    def give_up(self: Any) -> None:
        raise self.retry(exc=OwnError("still broken"), countdown=0)

    @app.task(
        name="basic.auto", bind=True, autoretry_for=(OwnError,), retry_backoff=True, retry_jitter=False, max_retries=1
    )
    def auto(self: Any, path: str, times: int) -> int:
        note(path, f"{self.request.retries} {time.time()}")
        if self.request.retries < times:
            raise OwnError(f"try {self.request.retries}")
        return int(self.request.retries)


app = build()
