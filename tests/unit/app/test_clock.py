"""The machine's own time zone, against Python's reading of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from umbel.app.clock import LocalTimezone


@pytest.fixture(params=["Europe/Oslo", "America/St_Johns", "UTC"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ZoneInfo]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield ZoneInfo(request.param)
    monkeypatch.undo()
    time.tzset()


def test_same_as_the_zone_of_that_name(zone: ZoneInfo) -> None:
    local = LocalTimezone()
    for days in range(0, 730, 5):
        moment = datetime(2026, 1, 1, 12, tzinfo=timezone.utc) + timedelta(days=days)
        assert moment.astimezone(local).isoformat() == moment.astimezone(zone).isoformat()
        assert moment.astimezone(local).tzname() == moment.astimezone(zone).tzname()
        assert moment.astimezone(local).timestamp() == moment.timestamp()
        assert moment.astimezone(local).dst() == moment.astimezone(zone).dst()
