"""Cauli: plain functions, which its worker runs in threads; the one that computes is of kind `cpu`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from cauli import Cauli

from benches import work
from benches.library import BULK, PATIENCE

app = Cauli(redis_url=os.environ["BENCH_BROKER"])
tasks = {function.__name__: app.task()(function) for function in (work.noop, work.echo, work.now, work.stamp)}
tasks["count"] = app.task(store_result=False)(work.count)
tasks["burn"] = app.task(kind="cpu")(work.burn)
tasks["wait"] = app.task()(work.wait)


class CauliLibrary:
    """Bulk: `enqueue_many`."""

    coroutines = False

    async def open(self) -> None:
        """Connects at first use."""

    async def send(self, task: str, *args: Any) -> Any:
        return tasks[task].apply_async(args=args)

    async def send_many(self, task: str, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        return app.enqueue_many([(tasks[task], args) for args in calls])

    async def get(self, sent: Any) -> Any:
        return sent.get(timeout=PATIENCE)

    async def missing(self, sent: Sequence[Any]) -> int:
        keys = [f"cauli:result:{result.id}" for result in sent]
        parts = [keys[start : start + BULK] for start in range(0, len(keys), BULK)]
        return len(keys) - sum(app._get_redis().exists(*part) for part in parts)


library = CauliLibrary()
