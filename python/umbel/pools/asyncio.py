"""The asyncio pool: each child process runs many `async def` tasks on one event loop."""

from __future__ import annotations

from umbel.pools.concurrent import ConcurrentPool


class AsyncioPool(ConcurrentPool):
    """`-P asyncio`."""

    name = "asyncio"
    runner = "umbel.pools.coroutine_loop"
