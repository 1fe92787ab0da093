"""ARQ."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any

from arq import create_pool
from arq.connections import ArqRedis, RedisSettings
from arq.constants import result_key_prefix
from arq.worker import func

from benches import work
from benches.library import BULK, PATIENCE


async def noop(_context: Any) -> None: ...


async def echo(_context: Any, value: Any) -> Any:
    return work.echo(value)


async def now(_context: Any) -> float:
    return work.now()


async def stamp(_context: Any, value: int) -> list[float]:
    return work.stamp(value)


async def count(_context: Any) -> None:
    work.count()


async def burn(_context: Any, value: int) -> None:
    work.burn(value)


async def wait(_context: Any, value: float) -> None:
    await asyncio.sleep(value)
    work.count()


class WorkerSettings:
    """For its command."""

    functions = [noop, echo, now, stamp, func(count, keep_result=0), burn, wait]
    redis_settings = RedisSettings.from_dsn(os.environ["BENCH_BROKER"])
    max_jobs = int(os.environ.get("BENCH_SHARE") or 10)


class ArqLibrary:
    """Bulk: many `enqueue_job` at once. Results are asked for every millisecond."""

    coroutines = True
    redis: ArqRedis

    async def open(self) -> None:
        self.redis = await create_pool(WorkerSettings.redis_settings)

    async def send(self, task: str, *args: Any) -> Any:
        return await self.redis.enqueue_job(task, *args)

    async def send_many(self, task: str, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        found: list[Any] = []
        for start in range(0, len(calls), 50):
            part = calls[start : start + 50]
            found += await asyncio.gather(*(self.redis.enqueue_job(task, *args) for args in part))
        return found

    async def get(self, sent: Any) -> Any:
        return await sent.result(timeout=PATIENCE, poll_delay=0.001)

    async def missing(self, sent: Sequence[Any]) -> int:
        keys = [result_key_prefix + job.job_id for job in sent]
        parts = [keys[start : start + BULK] for start in range(0, len(keys), BULK)]
        return len(keys) - sum([await self.redis.exists(*part) for part in parts])


library = ArqLibrary()
