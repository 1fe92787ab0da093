"""Tarsk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from tarsk import App

from benches import work
from benches.library import PATIENCE

app = App(broker=os.environ["BENCH_BROKER"])
kept = (work.noop, work.echo, work.now, work.stamp, work.burn, work.wait)
tasks = {function.__name__: app.task(result_ttl=3600)(function) for function in kept}
tasks["count"] = app.task()(work.count)


class TarskLibrary:
    """Bulk: `send` again and again, as its `group` does. Results are asked for every millisecond."""

    coroutines = False

    async def open(self) -> None:
        """Connects at first use."""

    async def send(self, task: str, *args: Any) -> str:
        return tasks[task].send(*args)

    async def send_many(self, task: str, calls: Sequence[tuple[Any, ...]]) -> list[str]:
        return [tasks[task].send(*args) for args in calls]

    async def get(self, sent: str) -> Any:
        return app.result(sent).get(timeout=PATIENCE, poll=0.001)

    async def missing(self, sent: Sequence[str]) -> int:
        return sum(app.producer().result(task_id) is None for task_id in sent)


library = TarskLibrary()
