"""Keeps a worker whose children die as they start from starting them in a tight loop."""

from __future__ import annotations

from collections import deque

#: A child that dies younger than this, idle, died of its start (seconds).
YOUNG = 1.0
#: So many such deaths within `YOUNG` seconds are a loop.
LIMIT = 5
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0


class SpawnGuard:
    """Says how long to wait before the next child. Times are given, in seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._deaths: deque[float] = deque(maxlen=LIMIT)
        self._born: dict[int, float] = {}
        self._pause = 0.0
        self._until = 0.0

    def born(self, child: int, now: float) -> None:
        """A child was started."""
        self._born[child] = now

    def died(self, child: int, worked: bool, now: float) -> float | None:
        """A child is gone; `worked` if it had a task or was asked to go.

        Returns a new pause, in seconds, if children die as they start.
        """
        age = now - self._born.pop(child, now)
        if worked or age > YOUNG:
            self._deaths.clear()
            self._pause = 0.0
            return None
        self._deaths.append(now)
        in_loop = len(self._deaths) == LIMIT and now - self._deaths[0] <= YOUNG
        if not in_loop and not self._pause:
            return None
        if now < self._until:
            return None
        self._pause = min(self._pause * 2, LONGEST_PAUSE) or FIRST_PAUSE
        self._until = now + self._pause
        return self._pause

    def delay(self, now: float) -> float:
        """Seconds to wait before starting a child now; 0 as a rule."""
        return max(0.0, self._until - now)
