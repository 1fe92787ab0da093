"""The tasks that every pool must run alike, each as a plain function and as a coroutine."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Coroutine
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from apps.basic import OwnError, note, notes

from umbel import Umbel, current_task
from umbel.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from umbel.pools.memory import resident_kib

variable: ContextVar[str] = ContextVar("variable", default="unset")

FLAVOURS = ("sync", "async")


class Rude(BaseException):
    """Nothing that `except Exception` would catch."""


def build(**settings: Any) -> Umbel:
    app = Umbel("behaving", **{"worker_shutdown_timeout": 25, **settings})
    define_sync(app)
    define_async(app)
    return app


def who_am_i() -> dict[str, Any]:
    request = current_task.request
    return {"id": request.id, "task": current_task.name, "retries": request.retries, "hostname": request.hostname}


def raise_by_name(kind: str) -> None:
    if kind == "exit":
        sys.exit("that is all")
    raise {"own": OwnError, "rude": Rude}[kind]("as asked")


def reject_once(path: str, requeue: bool) -> str:
    if notes(path):
        return "second time"
    note(path, "ran")
    raise Reject("not today", requeue=requeue)


def define_sync(app: Umbel) -> None:
    def hold(path: str, until: str, text: str = "held") -> None:
        note(path, f"{text} {os.getpid()}")
        while not Path(until).exists():
            time.sleep(0.01)

    @app.task(name="sync.add")
    def add(x: int, y: int) -> int:
        return x + y

    @app.task(name="sync.pid")
    def pid() -> int:
        return os.getpid()

    @app.task(name="sync.fail")
    def fail(kind: str) -> None:
        raise_by_name(kind)

    @app.task(name="sync.retry", bind=True, max_retries=5)
    def retry(self: Any, times: int) -> int:
        if self.request.retries < times:
            raise self.retry(countdown=0)
        return int(self.request.retries)

    @app.task(name="sync.autoretry", bind=True, autoretry_for=(OwnError,), max_retries=1, default_retry_delay=0)
    def autoretry(self: Any) -> int:
        if not self.request.retries:
            raise OwnError("once")
        return int(self.request.retries)

    @app.task(name="sync.ignore")
    def ignore(path: str) -> None:
        note(path, "ran")
        raise Ignore

    @app.task(name="sync.reject")
    def reject(path: str, requeue: bool) -> str:
        return reject_once(path, requeue)

    @app.task(name="sync.progress", bind=True)
    def progress(self: Any, path: str, until: str) -> str:
        self.update_state(state="PROGRESS", meta={"done": 1})
        hold(path, until)
        return "complete"

    @app.task(name="sync.identify")
    def identify(path: str, until: str) -> list[dict[str, Any]]:
        before = who_am_i()
        variable.set(before["id"])
        hold(path, until)
        return [before, who_am_i(), {"variable": variable.get()}]

    @app.task(name="sync.variable")
    def set_variable(value: str) -> str:
        before = variable.get()
        variable.set(value)
        return before

    @app.task(name="sync.soft")
    def soft(seconds: float) -> str:
        try:
            time.sleep(seconds)
        except SoftTimeLimitExceeded:
            return "interrupted"
        return "undisturbed"

    @app.task(name="sync.sleep")
    def sleep(seconds: float, path: str = "") -> str:
        try:
            time.sleep(seconds)
        finally:
            if path:
                note(path, "cleaned up")
        return "undisturbed"

    @app.task(name="sync.hold")
    def held(path: str, until: str) -> str:
        hold(path, until)
        return "done"


def define_async(app: Umbel) -> None:
    async def hold(path: str, until: str, text: str = "held") -> None:
        note(path, f"{text} {os.getpid()}")
        while not Path(until).exists():
            await asyncio.sleep(0.01)

    @app.task(name="async.add")
    async def add(x: int, y: int) -> int:
        await asyncio.sleep(0)
        return x + y

    @app.task(name="async.pid")
    async def pid() -> int:
        return os.getpid()

    @app.task(name="async.fail")
    async def fail(kind: str) -> None:
        await asyncio.sleep(0)
        raise_by_name(kind)

    @app.task(name="async.retry", bind=True, max_retries=5)
    async def retry(self: Any, times: int) -> int:
        await asyncio.sleep(0)
        if self.request.retries < times:
            raise self.retry(countdown=0)
        return int(self.request.retries)

    @app.task(name="async.autoretry", bind=True, autoretry_for=(OwnError,), max_retries=1, default_retry_delay=0)
    async def autoretry(self: Any) -> int:
        await asyncio.sleep(0)
        if not self.request.retries:
            raise OwnError("once")
        return int(self.request.retries)

    @app.task(name="async.ignore")
    async def ignore(path: str) -> None:
        note(path, "ran")
        raise Ignore

    @app.task(name="async.reject")
    async def reject(path: str, requeue: bool) -> str:
        await asyncio.sleep(0)
        return reject_once(path, requeue)

    @app.task(name="async.progress", bind=True)
    async def progress(self: Any, path: str, until: str) -> str:
        self.update_state(state="PROGRESS", meta={"done": 1})
        await hold(path, until)
        return "complete"

    @app.task(name="async.identify")
    async def identify(path: str, until: str) -> list[dict[str, Any]]:
        before = who_am_i()
        variable.set(before["id"])
        await hold(path, until)
        return [before, who_am_i(), {"variable": variable.get()}]

    @app.task(name="async.variable")
    async def set_variable(value: str) -> str:
        before = variable.get()
        variable.set(value)
        return before

    @app.task(name="async.soft")
    async def soft(seconds: float) -> str:
        try:
            await asyncio.sleep(seconds)
        except SoftTimeLimitExceeded:
            return "interrupted"
        return "undisturbed"

    @app.task(name="async.sleep")
    async def sleep(seconds: float, path: str = "") -> str:
        try:
            await asyncio.sleep(seconds)
        finally:
            if path:
                note(path, "cleaned up")
        return "undisturbed"

    @app.task(name="async.gathered")
    async def gathered(seconds: float, path: str) -> str:
        async def part(name: str) -> None:
            try:
                await asyncio.sleep(seconds)
            finally:
                note(path, f"{name} cleaned up")

        parts: list[Coroutine[Any, Any, None]] = [part("first"), part("second")]
        try:
            await asyncio.gather(*parts)
        except SoftTimeLimitExceeded:
            return "interrupted"
        return "undisturbed"

    @app.task(name="async.stubborn")
    async def stubborn(path: str) -> str:
        """Will not be cancelled."""
        note(path, str(os.getpid()))
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                note(path, "refused")

    crowd: list[asyncio.Event] = []

    @app.task(name="async.crowd")
    async def join_crowd() -> None:
        crowd.append(asyncio.Event())
        await crowd[-1].wait()

    @app.task(name="async.census")
    async def census() -> list[int]:
        """How many are in the crowd, and what the process holds (KiB)."""
        return [len(crowd), resident_kib()]

    @app.task(name="async.dismiss")
    async def dismiss() -> None:
        for event in crowd:
            event.set()

    @app.task(name="async.hold")
    async def held(path: str, until: str) -> str:
        await hold(path, until)
        return "done"


app = build()
