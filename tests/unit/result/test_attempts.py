"""What records tell of the tries of a task."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from umbel.result import Attempt
from umbel.result.attempts import attempts_of

NOON = datetime(2030, 1, 2, 12, tzinfo=timezone.utc)


def test_a_list_of_tries() -> None:
    tries = [
        {"retries": 0, "state": "LOST", "why": "gone"},
        "nonsense",
        {"retries": 1, "state": "SUCCESS", "worker": "w@h", "started": NOON.isoformat(), "ended": NOON.isoformat()},
    ]
    assert attempts_of({"status": "SUCCESS", "result": 1, "attempts": tries}) == [
        Attempt(0, "LOST", why="gone"),
        Attempt(1, "SUCCESS", "w@h", NOON, NOON),
    ]


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({"status": "PENDING"}, []),
        ({"status": "SUCCESS", "result": 1, "date_done": NOON.isoformat()}, [Attempt(0, "SUCCESS", ended=NOON)]),
        ({"status": "SUCCESS", "worker": "w@h", "retries": 2}, [Attempt(2, "SUCCESS", "w@h")]),
        ({"status": "STARTED", "result": {"pid": 1, "hostname": "w@h"}}, [Attempt(0, "STARTED", "w@h")]),
        ({"status": "FAILURE", "result": KeyError("x")}, [Attempt(0, "FAILURE", why="KeyError('x')")]),
    ],
)
def test_records_without_a_list(meta: dict[str, Any], expected: list[Attempt]) -> None:
    assert attempts_of(meta) == expected
