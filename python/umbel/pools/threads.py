"""The threads pool: N threads of this process share one link. Tasks cannot be killed, so time limits do not hold."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any

from umbel._native import ChildLink
from umbel.exceptions import WorkerTerminate
from umbel.execution.node import WorkerNode
from umbel.execution.tracer import Tracer
from umbel.pools.base import AppSource, Pool, PoolOptions, Supervisor
from umbel.pools.child import LEAVE, JobLoop
from umbel.pools.description import AppDescription
from umbel.pools.loading import load_app
from umbel.pools.worker_signals import send_worker_signal

logger = logging.getLogger("umbel.worker")

#: How long `close` waits for threads whose tasks were told to be over (seconds).
_GOODBYE = 1.0


class SharedLink:
    """A link that threads share; the last that leaves hangs up.

    Waiting for the link to be collected would not do: tracebacks of failed tasks may keep it.
    """

    def __init__(self, end: socket.socket, users: int) -> None:
        self._end = end.dup()
        self.link = ChildLink(end.detach(), users)
        self._users = users
        self._lock = threading.Lock()

    def leave(self) -> None:
        """Called once by each user."""
        with self._lock:
            self._users -= 1
            last = self._users == 0
        if last:
            with self._end, contextlib.suppress(OSError):
                self.link.flush()
                self._end.shutdown(socket.SHUT_RDWR)


class InProcessPool(Pool):
    """What threads and solo share: the app lives here, and the engine has one child with a number of slots."""

    processes = False

    def __init__(self, source: AppSource) -> None:
        super().__init__(source)
        self._app = source.imported()
        self._request = source.request
        self._hostname = source.request.hostname
        self._numbers = 0
        self._supervisor: Supervisor | None = None
        self._slots = 1

    def load(self) -> AppDescription:
        return load_app(self._app, self._request)

    def attach(self, supervisor: Supervisor, options: PoolOptions, concurrency: int) -> None:
        self._supervisor = supervisor
        self._slots = concurrency

    @property
    def size(self) -> int:
        return 1

    def send_signal(self, name: str, fields: Mapping[str, Any] | None = None) -> None:
        send_worker_signal(WorkerNode(self._app, self._hostname), name, fields)

    def _run_loop(self, tracer: Tracer, shared: SharedLink) -> None:
        """Runs jobs in this thread; a task that means the worker stops it."""
        try:
            JobLoop(tracer, shared.link).run()
        except LEAVE as error:
            logger.warning("A task asked the worker to stop: %r", error)
            assert self._supervisor is not None
            self._supervisor.ask_stop(cold=isinstance(error, WorkerTerminate))
        except BaseException:
            # Better no worker, which somebody notices, than one with a slot less each time.
            logger.critical("A thread that runs tasks has failed, and the worker stops", exc_info=True)
            assert self._supervisor is not None
            self._supervisor.ask_stop(cold=False)
        finally:
            shared.leave()

    def _open_link(self) -> SharedLink:
        """A link to the engine, which is told of its new child."""
        assert self._supervisor is not None
        self._numbers += 1
        ours, theirs = socket.socketpair()
        shared = SharedLink(theirs, self._slots)
        self._supervisor.add_child(self._numbers, ours.detach(), None, self._slots)
        return shared


class ThreadsPool(InProcessPool):
    """`-P threads`."""

    name = "threads"

    def __init__(self, source: AppSource) -> None:
        super().__init__(source)
        self._threads: list[threading.Thread] = []

    def spawn(self) -> None:
        shared = self._open_link()
        tracer = Tracer(self._app, self._hostname)
        for index in range(self._slots):
            thread = threading.Thread(
                target=self._run_loop, args=(tracer, shared), name=f"ThreadPoolWorker-{index + 1}", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        deadline = time.monotonic() + _GOODBYE
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        running = [thread.name for thread in self._threads if thread.is_alive()]
        if running:
            logger.warning("%d tasks still run in threads; they end with the process: %s", len(running), running)
