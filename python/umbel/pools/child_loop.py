"""What a child of the prefork pool does: one job at a time, in the main thread."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from umbel.execution.tracer import Tracer
from umbel.pools.child import JobLoop, Retirement
from umbel.pools.surroundings import Surroundings

if TYPE_CHECKING:
    from umbel._native import ChildLink
    from umbel.app import Umbel
    from umbel.pools.base import PoolOptions


def run_jobs(app: Umbel, link: ChildLink, options: PoolOptions) -> None:
    """Runs jobs until the main process says stop or is gone, or this child retires.

    Raises what a task raises to end its process.
    """
    retirement = Retirement(link, options.max_tasks_per_child, options.max_memory_per_child)
    loop = JobLoop(Tracer(app, options.request.hostname), link, retirement)
    signal.signal(signal.SIGUSR1, loop.on_soft_limit)
    loop.after_task = Surroundings().restore
    loop.run()
