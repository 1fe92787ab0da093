"""What a pool in the main process does when running tasks itself goes wrong."""

from __future__ import annotations

import os
import socket
from typing import Any, cast

import pytest

from umbel import Umbel
from umbel.exceptions import WorkerShutdown, WorkerTerminate
from umbel.execution.tracer import Tracer
from umbel.pools.base import AppSource, PoolOptions
from umbel.pools.base import Supervisor as SupervisorProtocol
from umbel.pools.description import LoadRequest
from umbel.pools.threads import InProcessPool, JobLoop, SharedLink, ThreadsPool


class Supervisor:
    """Notes what it is asked."""

    def __init__(self) -> None:
        self.stops: list[bool] = []

    def add_child(self, child_id: int, descriptor: int, pid: int | None, slots: int) -> None:
        os.close(descriptor)

    def ask_stop(self, cold: bool) -> None:
        self.stops.append(cold)


@pytest.fixture
def pool() -> InProcessPool:
    request = LoadRequest("w@h", (), (), {})
    found = ThreadsPool(AppSource(None, Umbel("proj", broker="memory://", set_as_current=False), None, request))
    found.attach(cast(SupervisorProtocol, Supervisor()), PoolOptions(request), 1)
    return found


@pytest.mark.parametrize(
    ("error", "cold", "said"),
    [
        (WorkerShutdown(), False, "asked the worker to stop"),
        (WorkerTerminate(), True, "asked the worker to stop"),
        (ValueError("a defect"), False, "A thread that runs tasks has failed"),
        (SystemExit(1), False, "A thread that runs tasks has failed"),
    ],
)
def test_a_thread_that_ends_stops_the_worker(
    pool: InProcessPool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    error: BaseException, cold: bool, said: str,
) -> None:  # fmt: skip
    def fail(_loop: JobLoop) -> None:
        raise error

    monkeypatch.setattr(JobLoop, "run", fail)
    _ours, theirs = socket.socketpair()
    pool._run_loop(cast(Tracer, None), SharedLink(theirs, 1))
    supervisor: Any = pool._supervisor
    assert supervisor.stops == [cold]
    assert said in caplog.text
