"""Results that the worker's main process cannot store: of stores in Python, which would need the application there.

The child stores the record before it reports the outcome, so that the order is what it is elsewhere: result, then
follow-up messages and acknowledgement in one step. A crash between the two repeats the task; its stored success stays.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from umbel import _native

if TYPE_CHECKING:
    from umbel._native import ChildLink, Client, Job

__all__ = ["StoringLink"]

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
            self._store(job.id, state, record, expires)
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
                    self._gave_up = True
                    raise
            except _native.NativeError:
                self._gave_up = True
                raise
