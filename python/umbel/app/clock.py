"""The application's time zone, and the time."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from umbel.config import Settings
from umbel.exceptions import ImproperlyConfigured

__all__ = ["LocalTimezone", "moved", "set_moved", "timestamp", "timezone_of"]

#: How far tests have moved the clock, seconds.
_moved = 0.0


def moved() -> float:
    """How far tests have moved the clock, seconds."""
    return _moved


def set_moved(seconds: float) -> None:
    """Moves the clock of this process' applications; see `umbel.testing`."""
    global _moved
    _moved = seconds


def timestamp() -> float:
    """This moment, seconds since the epoch."""
    return time.time() + _moved


class LocalTimezone(tzinfo):
    """The machine's own time zone, with its changes over the year."""

    def utcoffset(self, moment: datetime | None) -> timedelta:
        """Offset at that moment."""
        return timedelta(seconds=self._local(moment).tm_gmtoff)

    def dst(self, moment: datetime | None) -> timedelta:
        """One hour in summer time, else none."""
        return timedelta(hours=1 if self._local(moment).tm_isdst > 0 else 0)

    def tzname(self, moment: datetime | None) -> str:
        """Its abbreviation at that moment."""
        return self._local(moment).tm_zone

    def fromutc(self, moment: datetime) -> datetime:
        """Local time of a moment given in UTC."""
        return datetime.fromtimestamp(moment.replace(tzinfo=timezone.utc).timestamp()).replace(tzinfo=self)

    @staticmethod
    def _local(moment: datetime | None) -> time.struct_time:
        seconds = time.time() if moment is None else moment.replace(tzinfo=None).timestamp()
        return time.localtime(seconds)

    def __repr__(self) -> str:
        return "<LocalTimezone>"


def timezone_of(conf: Settings) -> tzinfo:
    """`timezone` if set, else UTC, or local time with `enable_utc=False`. Raises ImproperlyConfigured."""
    wanted = conf.timezone
    if isinstance(wanted, tzinfo):
        return wanted
    if wanted is None:
        return timezone.utc if conf.enable_utc else LocalTimezone()
    if str(wanted).upper() == "UTC":
        return timezone.utc
    try:
        return ZoneInfo(str(wanted))
    except (ZoneInfoNotFoundError, ValueError):
        raise ImproperlyConfigured(
            f"Setting timezone: no time zone {wanted!r} is known here; use a name such as Europe/Oslo "
            "(on systems without time zone data: pip install tzdata)"
        ) from None
