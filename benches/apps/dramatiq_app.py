"""Dramatiq: the default middleware and the Results middleware on its Redis backend."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benches import work
from benches.library import BULK, PATIENCE, patient

results = RedisBackend(url=patient(os.environ["BENCH_BROKER"]))
broker = RedisBroker(url=os.environ["BENCH_BROKER"])
broker.add_middleware(Results(backend=results))
dramatiq.set_broker(broker)


def actor(function: Callable[..., Any]) -> Any:
    """A task whose result is kept."""
    return dramatiq.actor(function, store_results=True)


tasks = {function.__name__: actor(function) for function in (work.noop, work.echo, work.now, work.stamp)}
tasks |= {function.__name__: actor(function) for function in (work.burn, work.wait)}
tasks["count"] = dramatiq.actor(work.count)


class DramatiqLibrary:
    """Bulk: `send` again and again, as its `group` does."""

    coroutines = False

    async def open(self) -> None:
        """Connects at first use."""

    async def send(self, task: str, *args: Any) -> Any:
        return tasks[task].send(*args)

    async def send_many(self, task: str, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        return [tasks[task].send(*args) for args in calls]

    async def get(self, sent: Any) -> Any:
        return sent.get_result(block=True, timeout=int(PATIENCE * 1000))

    async def missing(self, sent: Sequence[Any]) -> int:
        keys = [results.build_message_key(message) for message in sent]
        parts = [keys[start : start + BULK] for start in range(0, len(keys), BULK)]
        return len(keys) - sum(results.client.exists(*part) for part in parts)


library = DramatiqLibrary()
