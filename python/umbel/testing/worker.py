"""A worker inside the test's own process."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from umbel.worker.options import WorkerOptions
from umbel.worker.worker import Worker

if TYPE_CHECKING:
    from umbel.app import Umbel

#: Workers of this process, in the order in which they were started.
_running: list[Worker] = []


def running_workers() -> list[Worker]:
    """Workers that `start_worker` runs now, the oldest first."""
    return list(_running)


@contextlib.contextmanager
def start_worker(
    app: Umbel,
    concurrency: int = 1,
    pool: str = "threads",
    queues: Sequence[str] | None = None,
    loglevel: int | str = logging.ERROR,
    perform_ping_check: bool = True,
    shutdown_timeout: float = 10.0,
    **options: Any,
) -> Iterator[Worker]:
    """Runs a worker in threads of this process while the block runs.

        with start_worker(app):
            assert add.delay(2, 3).get(timeout=10) == 5

    Args:
        app: Its broker may be `memory://`, which needs nothing at all.
        concurrency: Tasks at once.
        pool: `threads`, `solo` for one at a time, or the path of a class derived from them: pools with processes
            need a program of their own.
        queues: As `-Q`.
        loglevel: Accepted for Celery's sake; logging stays as the test has it.
        perform_ping_check: Wait until the broker has been reached.
        shutdown_timeout: How long running tasks may take when the block ends, and the worker to start (seconds).
        options: More fields of `umbel.worker.WorkerOptions`.

    Raises:
        TimeoutError: The worker did not start, or did not end, in time.
    """
    chosen = WorkerOptions(concurrency=concurrency, pool=pool, queues=queues, quiet=True, **options)
    worker = Worker(app, options=chosen)
    failure: list[BaseException] = []

    def run() -> None:
        try:
            worker.run(signals=False)
        except BaseException as error:
            failure.append(error)
            worker.ready.set()

    thread = threading.Thread(target=run, name="umbel-test-worker", daemon=True)
    thread.start()
    try:
        if perform_ping_check and not worker.ready.wait(shutdown_timeout):
            raise TimeoutError(f"the worker has not reached the broker within {shutdown_timeout:g} s")
        if failure:
            raise failure[0]
        _running.append(worker)
        yield worker
    finally:
        if worker in _running:
            _running.remove(worker)
        if thread.is_alive():
            worker.stop("warm")
            thread.join(shutdown_timeout)
        if thread.is_alive():
            worker.stop("cold")
            thread.join(shutdown_timeout)
        if thread.is_alive():
            raise TimeoutError(f"the worker did not end within {2 * shutdown_timeout:g} s; a task hangs")
