"""No task queue: py-amqp alone, publishing the messages of small tasks and counting them.

The server's work grows with the headers of a message, so the bare client's are those of a task. What the client itself
would spend on them is left out: they are encoded once and never decoded, so that what it reaches is the server's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

import amqp

from benches import work

_QUEUE = "bench"
_ID = "d9b3b9a6-2f0e-4c55-9a55-6d3c1f6c6f3e"
#: What Celery says of a small task.
_HEADERS = {
    "lang": "py", "task": "bench.noop", "id": _ID, "shadow": None, "eta": None, "expires": None, "group": None,
    "group_index": None, "retries": 0, "timelimit": [None, None], "root_id": _ID, "parent_id": None, "argsrepr": "()",
    "kwargsrepr": "{}", "origin": "gen4711@host", "ignore_result": False, "replaced_task_nesting": 0,
    "stamped_headers": None, "stamps": {},
}  # fmt: skip
_BODY = b'[[], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'
#: Messages acknowledged at once, and messages that may be on their way.
_ACKS, _WINDOW = 100, 1000


def connect(url: str) -> Any:
    """A channel, and the queue declared on it."""
    parts = urlsplit(url)
    connection = amqp.Connection(
        host=f"{parts.hostname}:{parts.port}", userid=parts.username or "guest", password=parts.password or "guest",
        virtual_host=unquote(parts.path.lstrip("/")) or "/",
    )  # fmt: skip
    connection.connect()
    channel = connection.channel()
    channel.queue_declare(_QUEUE, durable=True, auto_delete=False)
    return channel


class _Encoded(amqp.Message):
    """A message whose properties are encoded once."""

    def __init__(self) -> None:
        super().__init__(
            _BODY, content_type="application/json", content_encoding="utf-8", delivery_mode=2, priority=0,
            correlation_id=_ID, reply_to=_ID, application_headers=_HEADERS,
        )  # fmt: skip
        self._encoded = super()._serialize_properties()

    def _serialize_properties(self) -> bytes:
        return self._encoded


# In the place of py-amqp's own, which decodes the table of headers.
def _read_no_properties(_message: Any, _class_id: int, _data: bytes, offset: int) -> int:
    return offset


class BareLibrary:
    """Bulk: all of them published, then all confirmations awaited."""

    coroutines = False

    async def open(self) -> None:
        self._channel = connect(os.environ["BENCH_BROKER"])
        self._channel.confirm_select()
        self._confirmed = self._sent = 0
        self._channel.events["basic_ack"].add(self._acked)

    def _acked(self, tag: int, multiple: bool) -> None:
        self._confirmed = max(self._confirmed, tag) if multiple else self._confirmed + 1

    async def send(self, task: str, *args: Any) -> None:
        await self.send_many(task, [args])

    async def send_many(self, task: str, calls: Sequence[tuple[Any, ...]]) -> list[None]:
        message = _Encoded()
        for _ in calls:
            self._channel.basic_publish(message, routing_key=_QUEUE)
        self._sent += len(calls)
        while self._confirmed < self._sent:
            self._channel.connection.drain_events()
        return [None] * len(calls)

    async def get(self, sent: None) -> None:
        raise NotImplementedError("there are no results")

    async def missing(self, sent: Sequence[None]) -> int:
        return 0


library = BareLibrary()


def consume(url: str) -> None:
    """Counts messages until it is ended."""
    amqp.Message._load_properties = _read_no_properties
    channel = connect(url)
    channel.basic_qos(0, _WINDOW, False)
    unacknowledged = 0

    def receive(message: Any) -> None:
        nonlocal unacknowledged
        work.count()
        unacknowledged += 1
        if unacknowledged == _ACKS:
            unacknowledged = 0
            channel.basic_ack(message.delivery_tag, multiple=True)

    channel.basic_consume(_QUEUE, callback=receive)
    while True:
        channel.connection.drain_events()


if __name__ == "__main__":
    consume(sys.argv[1])
