"""What pools share whose child processes run many tasks each."""

from __future__ import annotations

from dataclasses import replace

from umbel.pools.base import PoolOptions, Supervisor
from umbel.pools.prefork import PreforkPool


class ConcurrentPool(PreforkPool):
    """Child processes that run many tasks each; `concurrency` is that of one process."""

    concurrent_children = True
    default_concurrency = 100

    def attach(self, supervisor: Supervisor, options: PoolOptions, concurrency: int) -> None:
        super().attach(supervisor, replace(options, slots=concurrency), options.processes)

    def describe(self) -> str:
        processes = "" if self.size == 1 else f", {self.size} processes"
        return f"{super().describe()}{processes}"
