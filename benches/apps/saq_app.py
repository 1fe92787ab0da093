"""SAQ."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any

from saq import Queue

from benches import work
from benches.library import BULK, PATIENCE

queue = Queue.from_url(os.environ["BENCH_BROKER"])
#: Its way to keep no result.
OPTIONS: dict[str, dict[str, Any]] = {"count": {"ttl": -1}}
#: Without another try, a task is lost when a worker that starts takes it for a forgotten one.
RETRIES = 3


async def noop(_context: Any) -> None: ...


async def echo(_context: Any, *, value: Any) -> Any:
    return work.echo(value)


async def now(_context: Any) -> float:
    return work.now()


async def stamp(_context: Any, *, value: int) -> list[float]:
    return work.stamp(value)


async def count(_context: Any) -> None:
    work.count()


async def burn(_context: Any, *, value: int) -> None:
    work.burn(value)


async def wait(_context: Any, *, value: float) -> None:
    await asyncio.sleep(value)
    work.count()


settings = {
    "queue": queue,
    "functions": [noop, echo, now, stamp, count, burn, wait],
    "concurrency": int(os.environ.get("BENCH_SHARE") or 10),
}


class SaqLibrary:
    """Bulk: many `enqueue` at once."""

    coroutines = True

    async def open(self) -> None:
        await queue.connect()

    async def send(self, task: str, *args: Any) -> Any:
        arguments = {"value": args[0]} if args else {}
        return await queue.enqueue(task, retries=RETRIES, **arguments, **OPTIONS.get(task, {}))

    async def send_many(self, task: str, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        found: list[Any] = []
        for start in range(0, len(calls), 50):
            found += await asyncio.gather(*(self.send(task, *args) for args in calls[start : start + 50]))
        return found

    async def get(self, sent: Any) -> Any:
        await sent.refresh(until_complete=PATIENCE)
        if sent.error is not None:
            raise RuntimeError(sent.error)
        return sent.result

    async def missing(self, sent: Sequence[Any]) -> int:
        lacking = 0
        for start in range(0, len(sent), BULK):
            jobs = await queue.jobs([job.key for job in sent[start : start + BULK]])
            lacking += sum(job is None or not job.completed for job in jobs)
        return lacking


library = SaqLibrary()
