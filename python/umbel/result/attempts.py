"""The tries of a task, as its record tells them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

__all__ = ["Attempt", "attempts_of", "moment"]


class Attempt(NamedTuple):
    """One try of a task."""

    #: Number of retries before it: 0 for the first.
    retries: int
    #: RETRY, FAILURE, SUCCESS, REVOKED, STARTED; LOST if the process or machine that ran it was lost.
    state: str
    #: The node that ran it, as far as it is known; likewise the moments.
    worker: str | None = None
    started: datetime | None = None
    ended: datetime | None = None
    #: The repr of what it raised, or in words what happened.
    why: str | None = None


def attempts_of(meta: Mapping[str, Any]) -> list[Attempt]:
    """All tries, oldest first. Of a record without a list (a success at the first try, a record of Celery's): what it
    says of the last."""
    known = meta.get("attempts")
    if isinstance(known, list):
        return [_attempt(one) for one in known if isinstance(one, Mapping)]
    state = str(meta["status"])
    if state in ("PENDING", "RECEIVED"):
        return []
    value = meta.get("result")
    worker = meta.get("worker")
    if worker is None and state == "STARTED" and isinstance(value, Mapping):
        worker = value.get("hostname")
    why = repr(value) if isinstance(value, BaseException) else None
    return [Attempt(int(meta.get("retries") or 0), state, worker, None, moment(meta.get("date_done")), why)]


def _attempt(fields: Mapping[str, Any]) -> Attempt:
    retries = fields.get("retries")
    return Attempt(
        retries if isinstance(retries, int) else 0,
        str(fields.get("state")),
        fields.get("worker"),
        moment(fields.get("started")),
        moment(fields.get("ended")),
        fields.get("why"),
    )


def moment(value: Any) -> datetime | None:
    """Of a record's text; None if there is none. Raises ValueError for text that is no moment."""
    if isinstance(value, str):
        return datetime.fromisoformat(value.replace("Z", "+00:00"))
    return value if isinstance(value, datetime) else None
