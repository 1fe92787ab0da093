"""No task queue: py-amqp alone, publishing persistent messages of a task's size and counting them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

import amqp

from benches import work

_QUEUE = "bench"
#: As large as the body of a small task.
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
        for _ in calls:
            message = amqp.Message(_BODY, content_type="application/json", delivery_mode=2)
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
