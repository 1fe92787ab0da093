"""A child's greenlets, by gevent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gevent
import gevent.socket

from umbel.pools.greenlet_loop import GreenletLoop, Hub

if TYPE_CHECKING:
    from umbel._native import ChildLink
    from umbel.app import Umbel
    from umbel.pools.base import PoolOptions


def run_jobs(app: Umbel, link: ChildLink, options: PoolOptions) -> None:
    """Runs jobs until the main process says stop or is gone, or this child retires."""
    GreenletLoop(app, link, options, _Gevent()).run()


class _Gevent(Hub):
    def spawn(self, work: Callable[..., None], *args: Any) -> None:
        gevent.spawn(work, *args)

    def current(self) -> Any:
        return gevent.getcurrent()

    def throw(self, greenlet: Any, error: BaseException) -> None:
        greenlet.kill(error, block=False)

    def wait_readable(self, descriptor: int) -> None:
        gevent.socket.wait_read(descriptor)

    def in_thread(self, work: Callable[[], Any]) -> Any:
        return gevent.get_hub().threadpool.apply(work)
