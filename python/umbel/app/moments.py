"""`eta` and `expires` as messages carry them: ISO 8601 text, in the application's time zone."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta, timezone
from typing import Any

from umbel import _native
from umbel._interfaces import AppInterface

__all__ = ["Moments"]

logger = logging.getLogger("umbel.app.moments")

_UTC = timezone.utc


class Moments:
    """Of one application."""

    def __init__(self, app: AppInterface) -> None:
        self._app = app

    def eta(self, countdown: float | None, eta: Any) -> tuple[str, float]:
        """The header's text for a countdown (seconds) or eta, and when that is (seconds since the epoch)."""
        if countdown:
            eta = self._from_now(countdown, "countdown")
        if isinstance(eta, str):
            return eta, self._aware(_parse(eta)).timestamp()
        if not isinstance(eta, datetime):
            raise TypeError(f"eta must be a datetime or ISO 8601 text, not {type(eta).__name__}")
        # A naive eta stays naive on the wire: workers read it in their own time zone.
        return eta.isoformat(), self._aware(eta).timestamp()

    def expires(self, expires: Any, task_id: str) -> tuple[str, float]:
        """The header's text, and how many seconds are left, never less than 0."""
        if isinstance(expires, datetime):
            text, left = expires.isoformat(), self._left(expires)
        elif isinstance(expires, str):
            text, left = expires, self._left(_parse(expires))
        else:
            text, left = self._from_now(expires, "expires").isoformat(), float(expires)
        if left < 0:
            logger.warning("Task %s expires in the past (%.3f s ago), so it will not run", task_id, -left)
        return text, max(0.0, left)

    def _left(self, moment: datetime) -> float:
        return (self._aware(moment) - self._app.now()).total_seconds()

    def _aware(self, moment: datetime) -> datetime:
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=self._app.timezone)

    def _from_now(self, seconds: Any, what: str) -> datetime:
        try:
            # In UTC, so that a change to or from summer time in between does not count.
            moment = self._app.now().astimezone(_UTC) + timedelta(seconds=seconds)
            return moment.astimezone(self._app.timezone)
        except (OverflowError, ValueError):
            raise ValueError(f"{what} is out of range: {seconds!r} seconds") from None
        except TypeError:
            raise TypeError(f"{what} must be a number of seconds, not {seconds!r}") from None


def _parse(text: str) -> datetime:
    try:
        seconds, naive = _native.parse_iso8601(text)
        return datetime.fromtimestamp(seconds, _UTC).replace(tzinfo=None if naive else _UTC)
    except (ValueError, OverflowError, OSError, _native.NativeError) as error:
        raise ValueError(f"{text!r} is no ISO 8601 moment") from error
