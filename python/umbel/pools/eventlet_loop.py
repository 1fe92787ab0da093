"""A child's greenlets, by eventlet."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import eventlet
import eventlet.hubs
import eventlet.tpool

from umbel import signals
from umbel.execution.node import WorkerNode
from umbel.pools.greenlet_loop import GreenletLoop, Hub

if TYPE_CHECKING:
    from umbel._native import ChildLink
    from umbel.app import Umbel
    from umbel.pools.base import PoolOptions


def run_jobs(app: Umbel, link: ChildLink, options: PoolOptions) -> None:
    """Runs jobs until the main process says stop or is gone, or this child retires."""
    hub = _Eventlet(WorkerNode(app, options.request.hostname))
    signals.eventlet_pool_started.send(sender=hub.node)
    GreenletLoop(app, link, options, hub).run()
    signals.eventlet_pool_postshutdown.send(sender=hub.node)


class _Eventlet(Hub):
    def __init__(self, node: WorkerNode) -> None:
        #: Sender of eventlet's signals.
        self.node = node

    def spawn(self, work: Callable[..., None], *args: Any) -> None:
        if signals.eventlet_pool_apply.receivers:
            signals.eventlet_pool_apply.send(sender=self.node, target=work, args=args, kwargs={})
        eventlet.spawn_n(work, *args)

    def ending(self) -> None:
        signals.eventlet_pool_preshutdown.send(sender=self.node)

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
