"""RQ."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from redis import Redis
from rq import Queue

from benches import work
from benches.library import BULK, PATIENCE, patient

connection = Redis.from_url(patient(os.environ["BENCH_BROKER"]))
queue = Queue("bench", connection=connection)
#: Its way to keep no result.
OPTIONS: dict[str, dict[str, Any]] = {"count": {"result_ttl": 0}}


class RqLibrary:
    """Bulk: `enqueue_many`."""

    coroutines = False

    async def open(self) -> None:
        """Connects at first use."""

    async def send(self, task: str, *args: Any) -> Any:
        return queue.enqueue(getattr(work, task), *args, **OPTIONS.get(task, {}))

    async def send_many(self, task: str, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        function, options = getattr(work, task), OPTIONS.get(task, {})
        return queue.enqueue_many([Queue.prepare_data(function, args, **options) for args in calls])

    async def get(self, sent: Any) -> Any:
        result = sent.latest_result(timeout=int(PATIENCE))
        if result is None or result.type != result.Type.SUCCESSFUL:
            raise RuntimeError(f"job {sent.id}: {result}")
        return result.return_value

    async def missing(self, sent: Sequence[Any]) -> int:
        keys = [f"rq:results:{job.id}" for job in sent]
        parts = [keys[start : start + BULK] for start in range(0, len(keys), BULK)]
        return len(keys) - sum(connection.exists(*part) for part in parts)


library = RqLibrary()
