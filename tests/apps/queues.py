"""Tasks whose queues have rules: how many run at a time."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from apps.basic import note, wait_for_file

from umbel import Umbel

#: Seconds after which a dead worker's slots are free again.
LEASE = 2.0


def build(**settings: Any) -> Umbel:
    """An app with these tasks."""
    app = Umbel("queues", set_as_current=False, **{"worker_lease": LEASE, "result_expires": 600, **settings})
    define(app)
    return app


def span(path: str, text: str, seconds: float) -> str:
    """Notes its start and its end."""
    note(path, f"+{text}")
    time.sleep(seconds)
    note(path, f"-{text}")
    return text


def most_at_once(lines: Iterable[str], prefix: str = "") -> int:
    """How many of the spans whose text begins with `prefix` overlapped."""
    running = most = 0
    for line in lines:
        if line[1:].startswith(prefix):
            running += 1 if line[0] == "+" else -1
            most = max(most, running)
    return most


def define(app: Umbel) -> None:
    """With `concurrency_limit`, by task and by key."""
    app.task(name="queues.free")(span)
    app.task(name="queues.fair", fair_key=True)(span)
    app.task(name="queues.two", concurrency_limit=2)(span)

    @app.task(name="queues.keyed", concurrency_limit=1, concurrency_key=["key"])
    def keyed(path: str, key: str, text: str, seconds: float = 0.0) -> str:
        return span(path, f"{key}-{text}", seconds)

    def hold(path: str, until: str, text: str) -> str:
        note(path, text)
        wait_for_file(until)
        return text

    from umbel.contrib.batches import Batches, SimpleRequest

    @app.task(name="queues.batch", base=Batches, flush_every=5, flush_interval=0.2)
    def batch(requests: list[SimpleRequest]) -> list[Any]:
        path, seconds = requests[0].args[0], requests[0].args[2]
        span(path, ",".join(request.args[1] for request in requests), seconds)
        return [request.args[1] for request in requests]

    app.task(name="queues.hold", concurrency_limit=1)(hold)
    app.task(name="queues.hold_early", concurrency_limit=1, acks_late=False)(hold)


app = build()
