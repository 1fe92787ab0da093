"""The threads pool: N threads of this process share one link. Tasks cannot be killed, so time limits do not hold."""

from __future__ import annotations

import logging
import socket
import threading
from typing import TYPE_CHECKING

from umbel import signals
from umbel._native import ChildLink
from umbel.execution.tracer import Tracer
from umbel.pools.base import Pool, PoolOptions, Supervisor
from umbel.pools.child import JobLoop
from umbel.pools.description import AppDescription, QueueChoice
from umbel.pools.loading import load_app

if TYPE_CHECKING:
    from umbel.app import Umbel

logger = logging.getLogger("umbel.worker")

#: How long `close` waits for threads whose tasks were told to be over (seconds).
_GOODBYE = 1.0


class InProcessPool(Pool):
    """What threads and solo share: the app lives here, and the engine has one child with a number of slots."""

    processes = False

    def __init__(self, app: Umbel, hostname: str, choice: QueueChoice | None = None) -> None:
        self._app = app
        self._choice = choice or QueueChoice()
        self._hostname = hostname
        self._numbers = 0
        self._supervisor: Supervisor | None = None
        self._slots = 1

    def load(self) -> AppDescription:
        return load_app(self._app, self._hostname, self._choice)

    def attach(self, supervisor: Supervisor, options: PoolOptions, concurrency: int) -> None:
        self._supervisor = supervisor
        self._slots = concurrency

    @property
    def size(self) -> int:
        return 1

    def send_signal(self, name: str) -> None:
        getattr(signals, name).send(sender=self._app)

    def _open_link(self) -> ChildLink:
        """A link to the engine, which is told of its new child."""
        assert self._supervisor is not None
        self._numbers += 1
        ours, theirs = socket.socketpair()
        link = ChildLink(theirs.detach(), self._slots)
        self._supervisor.add_child(self._numbers, ours.detach(), None, self._slots)
        return link


class ThreadsPool(InProcessPool):
    """`-P threads`."""

    name = "threads"

    def __init__(self, app: Umbel, hostname: str, choice: QueueChoice | None = None) -> None:
        super().__init__(app, hostname, choice)
        self._threads: list[threading.Thread] = []

    def spawn(self) -> None:
        link = self._open_link()
        tracer = Tracer(self._app, self._hostname)
        for index in range(self._slots):
            thread = threading.Thread(
                target=JobLoop(tracer, link).run, name=f"ThreadPoolWorker-{index + 1}", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        for thread in self._threads:
            thread.join(_GOODBYE)
        running = [thread.name for thread in self._threads if thread.is_alive()]
        if running:
            logger.warning("%d tasks still run in threads; they end with the process: %s", len(running), running)
