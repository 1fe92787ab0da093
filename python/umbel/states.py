"""Task states and their groupings, with Celery's values."""

from __future__ import annotations

__all__ = [
    "ALL_STATES",
    "EXCEPTION_STATES",
    "FAILURE",
    "IGNORED",
    "NONE_PRECEDENCE",
    "PENDING",
    "PRECEDENCE",
    "PRECEDENCE_LOOKUP",
    "PROPAGATE_STATES",
    "READY_STATES",
    "RECEIVED",
    "REJECTED",
    "RETRY",
    "REVOKED",
    "STARTED",
    "SUCCESS",
    "UNREADY_STATES",
    "precedence",
    "state",
]

#: Unknown: no record exists.
PENDING = "PENDING"
#: A worker holds it (events only).
RECEIVED = "RECEIVED"
#: Running (stored only with `task_track_started`).
STARTED = "STARTED"
SUCCESS = "SUCCESS"
FAILURE = "FAILURE"
REVOKED = "REVOKED"
#: Given back or dead-lettered by a worker (events only).
REJECTED = "REJECTED"
#: Waits for its next try.
RETRY = "RETRY"
#: Ended without a result; never stored.
IGNORED = "IGNORED"

READY_STATES = frozenset({SUCCESS, FAILURE, REVOKED})
UNREADY_STATES = frozenset({PENDING, RECEIVED, STARTED, REJECTED, RETRY})
#: The record's result is an exception.
EXCEPTION_STATES = frozenset({RETRY, FAILURE, REVOKED})
#: `AsyncResult.get` raises.
PROPAGATE_STATES = frozenset({FAILURE, REVOKED})
ALL_STATES = frozenset({PENDING, RECEIVED, STARTED, SUCCESS, FAILURE, RETRY, REVOKED})

#: Highest first; None stands for any custom state.
PRECEDENCE: list[str | None] = [SUCCESS, FAILURE, None, REVOKED, STARTED, RECEIVED, REJECTED, RETRY, PENDING]
PRECEDENCE_LOOKUP = {name: index for index, name in enumerate(PRECEDENCE)}
#: Rank of a custom state.
NONE_PRECEDENCE = PRECEDENCE_LOOKUP[None]


def precedence(name: str | None) -> int:
    """Rank of a state: the lower number wins when two reports about a task disagree."""
    return PRECEDENCE_LOOKUP.get(name, NONE_PRECEDENCE)


class state(str):
    """A state that compares by precedence: `state(PENDING) < state(SUCCESS)`."""

    __slots__ = ()

    def __gt__(self, other: str) -> bool:
        return precedence(self) < precedence(other)

    def __ge__(self, other: str) -> bool:
        return precedence(self) <= precedence(other)

    def __lt__(self, other: str) -> bool:
        return precedence(self) > precedence(other)

    def __le__(self, other: str) -> bool:
        return precedence(self) >= precedence(other)
