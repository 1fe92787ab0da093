"""Messages for the extension's tests."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from umbel._native import MessageDict

BODY = json.dumps([[2, 3], {"a": None}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])


def message(task_id: str, queue: str = "celery", body: str = BODY, **headers: object) -> MessageDict:
    """A protocol 2 message."""
    return {
        "headers": {"lang": "py", "task": "proj.add", "id": task_id, **headers},
        "body": body.encode(),
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "properties": {"correlation_id": task_id, "priority": 3},
        "exchange": "",
        "routing_key": queue,
    }


def wait_until(condition: Callable[[], bool], timeout: float = 10.0) -> None:
    """Returns once `condition` holds; fails after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.002)
