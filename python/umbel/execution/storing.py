"""Results that the worker's main process cannot store: of stores in Python, which would need the application there.

The child stores the record before it reports the outcome, so that the order is what it is elsewhere: result, then
follow-up messages and acknowledgement in one step. A crash between the two repeats the task; its stored success stays.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from umbel import _native
from umbel.execution.report import logger

if TYPE_CHECKING:
    from umbel._native import ChildLink, Client, Job

__all__ = ["LaterLink", "StoringLink"]

#: How long a store may be out of reach before a task's outcome goes to the dead letters (seconds).
PATIENCE = 30.0
#: Errors that may pass.
_PASSING = (_native.ConnectionLostError, _native.UnavailableError)


class StoringLink:
    """In place of a `ChildLink` for one job."""

    def __init__(self, link: ChildLink, client: Client, patience: float = PATIENCE) -> None:
        self._link = link
        self._client = client
        self._patience = patience
        self._gave_up = False

    def finish(
        self,
        job: Job,
        state: str,
        disposition: Any,
        record: bytes | None = None,
        expires: float | None = None,
        publish: Any = (),
        reason: str = "",
        kind: str = "rejected",
    ) -> None:
        """Stores the record, then reports the rest. Raises NativeError if it cannot be stored; the next call reports
        without."""
        if record is not None and not self._gave_up:
            try:
                self._store(job.id, state, record, expires)
            except _native.NativeError:
                self._gave_up = True
                raise
        self._link.finish(job, state, disposition, None, None, publish, reason, kind=kind)

    def started(
        self, job: Job, record: bytes, expires: float | None, state: str = "STARTED", task_id: str | None = None
    ) -> None:
        """Stores the record now. Raises NativeError."""
        self._store(task_id or job.id, state, record, expires)

    def flush(self) -> None:
        """As `ChildLink.flush`."""
        self._link.flush()

    def _store(self, task_id: str, state: str, record: bytes, expires: float | None) -> None:
        deadline = time.monotonic() + self._patience
        while True:
            try:
                self._client.store_result(task_id, state, record, expires)
                return
            except _PASSING:
                # Each call has tried for a while.
                if time.monotonic() >= deadline:
                    raise


class LaterLink(StoringLink):
    """For a task on an event loop, which must not wait for a store: a thread stores and reports, in order."""

    def __init__(self, link: ChildLink, client: Client, thread: ThreadPoolExecutor, patience: float = PATIENCE) -> None:
        super().__init__(link, client, patience)
        self._thread = thread
        self._last: Future[None] | None = None

    def finish(
        self,
        job: Job,
        state: str,
        disposition: Any,
        record: bytes | None = None,
        expires: float | None = None,
        publish: Any = (),
        reason: str = "",
        kind: str = "rejected",
    ) -> None:
        """Has the record stored and the rest reported; a message whose record cannot be stored is a dead letter."""
        report = super().finish

        def work() -> None:
            try:
                report(job, state, disposition, record, expires, publish, reason, kind)
            except _native.NativeError as error:
                logger.critical("The result of task %s cannot be stored: %s", job.id, error)
                reason_of_loss = f"its result cannot be stored: {error}"
                self._link.finish(job, "FAILURE", "reject", None, None, (), reason_of_loss, kind="internal-error")

        self._submit(work)

    def started(
        self, job: Job, record: bytes, expires: float | None, state: str = "STARTED", task_id: str | None = None
    ) -> None:
        """Has the record stored; what cannot be stored is left out."""

        def work() -> None:
            try:
                self._store(task_id or job.id, state, record, expires)
            except _native.NativeError as error:
                logger.warning("State %s of task %s cannot be stored: %s", state, job.id, error)

        self._submit(work)

    def flush(self) -> None:
        """Blocks until all is reported."""
        if self._last is not None:
            self._last.result()
        super().flush()

    async def settled(self) -> None:
        """Waits until all is reported."""
        import asyncio  # Loaded already where a loop runs.

        if self._last is not None:
            await asyncio.wrap_future(self._last)

    def _submit(self, work: Callable[[], None]) -> None:
        self._last = self._thread.submit(work)
