"""Celery."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from celery import Celery, chain, chord, group

from benches import work
from benches.library import BULK, PATIENCE
from benches.workflows import WORKFLOWS, Words

app = Celery(
    "bench", broker=os.environ["BENCH_BROKER"], backend=os.environ.get("BENCH_BACKEND", os.environ["BENCH_BROKER"])
)
app.conf.broker_connection_retry_on_startup = True  # Its default is about to become this, and it warns until then.
tasks = {function.__name__: app.task(function) for function in (work.noop, work.echo, work.now, work.stamp)}
tasks |= {function.__name__: app.task(function) for function in (work.burn, work.wait, work.step, work.total)}
tasks["count"] = app.task(ignore_result=True)(work.count)


class CeleryLibrary:
    """Bulk: `apply_async` again and again with one producer, as its `group` does."""

    coroutines = False

    async def open(self) -> None:
        """Connects at first use."""

    async def send(self, task: str, *args: Any) -> Any:
        return tasks[task].apply_async(args)

    async def send_many(self, task: str, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        with app.producer_pool.acquire(block=True) as producer:
            return [tasks[task].apply_async(args, producer=producer) for args in calls]

    async def get(self, sent: Any) -> Any:
        return sent.get(timeout=PATIENCE)

    async def send_workflow(self, kind: str, size: int) -> Any:
        return WORKFLOWS[kind].build(Words(chain, group, chord, tasks), size).apply_async()

    async def missing(self, sent: Sequence[Any]) -> int:
        keys = [app.backend.get_key_for_task(result.id) for result in sent]
        parts = (keys[start : start + BULK] for start in range(0, len(keys), BULK))
        return sum(app.backend.client.mget(part).count(None) for part in parts)


library = CeleryLibrary()
