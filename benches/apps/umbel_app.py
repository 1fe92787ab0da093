"""Umbel."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from benches import work
from benches.library import BULK, PATIENCE
from benches.workflows import WORKFLOWS, Words
from umbel import AsyncResult, Umbel, chain, chord, group

app = Umbel(
    "bench",
    broker=os.environ.get("BENCH_BROKER"),
    backend=os.environ.get("BENCH_BACKEND", os.environ.get("BENCH_BROKER")),
)
tasks = {function.__name__: app.task(function) for function in (work.noop, work.echo, work.now, work.stamp)}
tasks |= {function.__name__: app.task(function) for function in (work.burn, work.wait, work.step, work.total)}
tasks["count"] = app.task(ignore_result=True)(work.count)


class UmbelLibrary:
    """Bulk: `apply_async_many`."""

    coroutines = False

    async def open(self) -> None:
        """Connects at first use."""

    async def send(self, task: str, *args: Any) -> AsyncResult[Any]:
        return tasks[task].apply_async(args)

    async def send_many(self, task: str, calls: Sequence[tuple[Any, ...]]) -> list[AsyncResult[Any]]:
        return tasks[task].apply_async_many(calls)

    async def get(self, sent: AsyncResult[Any]) -> Any:
        return sent.get(timeout=PATIENCE)

    async def send_workflow(self, kind: str, size: int) -> Any:
        return WORKFLOWS[kind].build(Words(chain, group, chord, tasks), size).apply_async()

    async def missing(self, sent: Sequence[AsyncResult[Any]]) -> int:
        ids = [result.id for result in sent]
        parts = (ids[start : start + BULK] for start in range(0, len(ids), BULK))
        return sum(app.client.read_results(part).count(None) for part in parts)


library = UmbelLibrary()
