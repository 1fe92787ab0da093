"""Taskiq on Redis streams (its broker with acknowledgements); tasks are coroutines, but for the one that computes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any

from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from benches import work
from benches.library import PATIENCE

broker = RedisStreamBroker(url=os.environ["BENCH_BROKER"])
if os.environ.get("BENCH_RESULTS") != "no":
    broker = broker.with_result_backend(
        RedisAsyncResultBackend(redis_url=os.environ["BENCH_BROKER"], result_ex_time=3600)
    )


@broker.task
async def noop() -> None: ...


@broker.task
async def echo(value: Any) -> Any:
    return work.echo(value)


@broker.task
async def now() -> float:
    return work.now()


@broker.task
async def stamp(value: int) -> list[float]:
    return work.stamp(value)


@broker.task
async def count() -> None:
    work.count()


@broker.task
def burn(value: int) -> None:
    work.burn(value)


@broker.task
async def wait(value: float) -> None:
    await asyncio.sleep(value)
    work.count()


tasks: dict[str, Any] = {
    "noop": noop, "echo": echo, "now": now, "stamp": stamp, "count": count, "burn": burn, "wait": wait
}  # fmt: skip


class TaskiqLibrary:
    """Bulk: many `kiq` at once. Results are asked for every millisecond."""

    coroutines = True

    async def open(self) -> None:
        await broker.startup()

    async def send(self, task: str, *args: Any) -> Any:
        return await tasks[task].kiq(*args)

    async def send_many(self, task: str, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        found: list[Any] = []
        for start in range(0, len(calls), 50):
            found += await asyncio.gather(*(tasks[task].kiq(*args) for args in calls[start : start + 50]))
        return found

    async def get(self, sent: Any) -> Any:
        result = await sent.wait_result(check_interval=0.001, timeout=PATIENCE)
        result.raise_for_error()
        return result.return_value

    async def missing(self, sent: Sequence[Any]) -> int:
        lacking = 0
        for start in range(0, len(sent), 50):
            found = await asyncio.gather(*(task.is_ready() for task in sent[start : start + 50]))
            lacking += found.count(False)
        return lacking


library = TaskiqLibrary()
