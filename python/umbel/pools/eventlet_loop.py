"""A child's greenlets, by eventlet."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import eventlet
import eventlet.hubs
import eventlet.tpool

from umbel.pools.greenlet_loop import GreenletLoop, Hub

if TYPE_CHECKING:
    from umbel._native import ChildLink
    from umbel.app import Umbel
    from umbel.pools.base import PoolOptions


def run_jobs(app: Umbel, link: ChildLink, options: PoolOptions) -> None:
    """Runs jobs until the main process says stop or is gone, or this child retires."""
    GreenletLoop(app, link, options, _Eventlet()).run()


class _Eventlet(Hub):
    def spawn(self, work: Callable[..., None], *args: Any) -> None:
        eventlet.spawn_n(work, *args)

    def current(self) -> Any:
        return eventlet.getcurrent()

    def throw(self, greenlet: Any, error: BaseException) -> None:
        eventlet.hubs.get_hub().schedule_call_global(0, _throw, greenlet, error)

    def wait_readable(self, descriptor: int) -> None:
        eventlet.hubs.trampoline(descriptor, read=True)

    def in_thread(self, work: Callable[[], Any]) -> Any:
        return eventlet.tpool.execute(work)


def _throw(greenlet: Any, error: BaseException) -> None:
    if not greenlet.dead:
        greenlet.throw(error)
