"""Huey on Redis, results announced (`notify_result`)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from huey import RedisHuey

from benches import work
from benches.library import BULK, PATIENCE, patient

huey = RedisHuey(
    "bench",
    url=patient(os.environ["BENCH_BROKER"]),
    notify_result=True,
    results=os.environ.get("BENCH_RESULTS") != "no",
)
functions = (work.noop, work.echo, work.now, work.stamp, work.count, work.burn, work.wait)
tasks = {function.__name__: huey.task()(function) for function in functions}


class HueyLibrary:
    """Bulk: one call after another, as its `map` does."""

    coroutines = False

    async def open(self) -> None:
        """Connects at first use."""

    async def send(self, task: str, *args: Any) -> Any:
        return tasks[task](*args)

    async def send_many(self, task: str, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        return [tasks[task](*args) for args in calls]

    async def get(self, sent: Any) -> Any:
        return sent.get(blocking=True, timeout=PATIENCE)

    async def missing(self, sent: Sequence[Any]) -> int:
        ids = [result.id for result in sent]
        parts = [ids[start : start + BULK] for start in range(0, len(ids), BULK)]
        return len(ids) - sum(len(huey.storage.peek_many(part)) for part in parts)


library = HueyLibrary()
