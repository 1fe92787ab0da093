"""Notices that children die as they start, so that the log can say why nothing works.

The engine spaces out the attempts by itself.
"""

from __future__ import annotations

#: A child that dies younger than this, idle, died of its start (seconds).
YOUNG = 1.0
#: So many in a row are no accident.
LIMIT = 5


class StartDeaths:
    """Counts them. Times are given, in seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._born: dict[int, float] = {}
        self._in_a_row = 0

    def born(self, child: int, now: float) -> None:
        """A child was started."""
        self._born[child] = now

    def died(self, child: int, worked: bool, now: float) -> bool:
        """A child is gone; `worked` if it had a task or was asked to go. True if it is time to tell, once a series."""
        age = now - self._born.pop(child, now)
        self._in_a_row = 0 if worked or age > YOUNG else self._in_a_row + 1
        return self._in_a_row == LIMIT
