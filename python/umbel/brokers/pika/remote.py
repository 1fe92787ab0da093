"""What is said to all workers, and what they answer: kombu's pidbox on RabbitMQ."""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pika
from pika import spec
from pika.channel import Channel

from umbel.brokers.base import BrokerSettings, Control, Listener, Message
from umbel.brokers.pika.administration import walk
from umbel.brokers.pika.content import from_amqp, to_amqp
from umbel.brokers.pika.link import PATIENCE, ChannelError, Link
from umbel.exceptions import OperationalError

__all__ = ["PikaControl", "PikaListener"]

#: Arguments of kombu's queues for requests and answers (ms).
_PIDBOX: Mapping[str, Any] = {"x-expires": 10_000, "x-message-ttl": 300_000}
#: How long results of `rpc://` wait for their reader at least, if nothing else is said (seconds).
_RESULTS_LIVE = 86_400.0
#: Queue of revocations, and the one that whoever reads it has for itself; headers of its messages.
_REVOKED, _READING = "umbel.revoked", "umbel.revoked.reading"
_WHAT, _UNTIL = "umbel_revoked", "umbel_until"
#: The longest life that RabbitMQ takes (ms).
_LONGEST = 2**32 - 1
#: Reply code for what belongs to another connection.
_LOCKED = 405


class Inbox:
    """A queue of this link's own, whose messages come as they are sent."""

    def __init__(self, link: Link, queue: str, **declaration: Any) -> None:
        self._link = link
        self._queue = queue
        self._declaration = declaration
        self.messages: deque[Message] = deque()

    def open(self, exchange: str = "", routing_key: str = "") -> None:
        """Declares it, binds it to an exchange if one is named, and begins to listen."""
        channel = self._link.channel
        self._link.call(channel.queue_declare, self._queue, **self._declaration)
        if exchange:
            self._link.call(channel.queue_bind, self._queue, exchange, routing_key=routing_key)
        self._link.call(channel.basic_consume, self._queue, self._received, auto_ack=True)

    def delete(self) -> None:
        """With what is in it."""
        self._link.call(self._link.channel.queue_delete, self._queue)

    def take(self, timeout: float) -> list[Message]:
        """What has come; waits for something if there is nothing."""
        self._link.run(lambda: bool(self.messages), timeout)
        found = list(self.messages)
        self.messages.clear()
        return found

    def _received(
        self, _channel: Channel, method: spec.Basic.Deliver, properties: pika.BasicProperties, body: bytes
    ) -> None:
        self.messages.append(from_amqp(properties, body, method.exchange, method.routing_key, method.redelivered))


def _exchange(link: Link, name: str, kind: str) -> None:
    link.call(link.channel.exchange_declare, name, exchange_type=kind, durable=False)


class PikaControl(Control):
    """A link of its own, and one more while revocations are read."""

    def __init__(self, connect: Callable[[], Link], settings: BrokerSettings) -> None:
        self._connect = connect
        self._link = connect()
        self._life = float(settings.get("result_expires") or _RESULTS_LIVE)
        self._boxes: dict[tuple[str, str], Inbox] = {}
        self._exchanges: set[str] = set()

    def broadcast(self, exchange: str, message: Message) -> None:
        """As `Control.broadcast`."""
        self._declare(exchange, "fanout")
        self._send(exchange, "", message)

    def open_box(self, exchange: str, routing_key: str) -> None:
        """As `Control.open_box`. The queue for results stays when this connection is lost, until it was not used for as
        long as results live; others go with it."""
        if (exchange, routing_key) in self._boxes:
            return
        if exchange:
            self._declare(exchange, "direct")
            inbox = Inbox(
                self._link, f"{routing_key}.{exchange}", exclusive=True, auto_delete=True, arguments=dict(_PIDBOX)
            )
        else:
            arguments = {"x-expires": int(self._life * 1000)}
            inbox = Inbox(self._link, routing_key, durable=True, arguments=arguments)
        self._guard(inbox.open, exchange, routing_key)
        self._boxes[exchange, routing_key] = inbox

    def collect(self, exchange: str, routing_key: str, timeout: float) -> Sequence[Message]:
        """As `Control.collect`; opens the box if this connection has not."""
        self.open_box(exchange, routing_key)
        found: list[Message] = self._guard(self._boxes[exchange, routing_key].take, timeout)
        return found

    def close_box(self, exchange: str, routing_key: str) -> None:
        """As `Control.close_box`."""
        inbox = self._boxes.pop((exchange, routing_key), None)
        if inbox is not None:
            self._guard(inbox.delete)

    def answer(self, exchange: str, routing_key: str, message: Message) -> None:
        """As `Control.answer`. Nothing is declared for results: a reader that is gone needs none."""
        if exchange:
            self._declare(exchange, "direct")
        self._send(exchange, routing_key, message)

    # --- what is not to run: messages in a queue, each with its end as its expiry, as the core's own client has them

    def revoke(self, revocations: Sequence[tuple[str, float]]) -> None:
        """As `Control.revoke`."""
        link = self._link
        self._guard(link.call, link.channel.queue_declare, _REVOKED, durable=True)
        now = time.time()
        for text, until in revocations:
            if until > now:
                left = min(max(int((until - now) * 1000), 1), _LONGEST)
                headers = {_WHAT: text, _UNTIL: int(until * 1e6)}
                properties = pika.BasicProperties(headers=headers, delivery_mode=2, expiration=str(left))
                link.channel.basic_publish("", _REVOKED, b"", properties)
        self._guard(link.call, link.channel.basic_qos, prefetch_count=0)

    def revoked(self) -> list[tuple[str, float]]:
        """As `Control.revoked`: all are taken and given back, by one reader at a time."""
        link = self._connect()
        try:
            found: dict[str, float] = self._guard(_read_revocations, link)
            return list(found.items())
        finally:
            link.close()

    def close(self) -> None:
        """As `Control.close`."""
        self._link.close()

    def _declare(self, exchange: str, kind: str) -> None:
        if exchange not in self._exchanges:
            self._guard(_exchange, self._link, exchange, kind)
            self._exchanges.add(exchange)

    def _send(self, exchange: str, routing_key: str, message: Message) -> None:
        properties, body = to_amqp(message)
        channel = self._link.channel
        channel.basic_publish(exchange, routing_key, body, properties)
        # Whoever asks for something after it finds it done: the server has read it once it answers a call.
        self._guard(self._link.call, channel.basic_qos, prefetch_count=0)

    def _guard(self, work: Any, *arguments: Any, **keywords: Any) -> Any:
        try:
            return work(*arguments, **keywords)
        except ChannelError as error:
            raise OperationalError(error.text) from error


def _read_revocations(link: Link) -> dict[str, float]:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            # No two connections may have it: the second reader would find nothing.
            link.call(link.channel.queue_declare, _READING, exclusive=True)
            break
        except ChannelError as error:
            if error.code != _LOCKED or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    link.call(link.channel.queue_declare, _REVOKED, durable=True)
    found: dict[str, float] = {}
    for got in walk(link, _REVOKED):
        text, until = got.message.headers.get(_WHAT), got.message.headers.get(_UNTIL)
        if isinstance(text, str) and isinstance(until, int) and until / 1e6 > time.time():
            found[text] = max(found.get(text, 0.0), until / 1e6)
    link.channel.basic_nack(0, multiple=True)
    # They are back before the next one reads.
    link.call(link.channel.queue_delete, _READING)
    return found


class PikaListener(Listener):
    """A link of its own, with a queue on the exchange that goes with it."""

    def __init__(self, link: Link, exchange: str) -> None:
        self._link = link
        _exchange(link, exchange, "fanout")
        name = f"{uuid.uuid4()}.{exchange}"
        self._inbox = Inbox(link, name, exclusive=True, auto_delete=True, arguments=dict(_PIDBOX))
        self._inbox.open(exchange)

    def next(self, timeout: float) -> Sequence[Message]:
        """As `Listener.next`."""
        try:
            return self._inbox.take(timeout)
        except ChannelError as error:
            raise OperationalError(error.text) from error

    def close(self) -> None:
        """As `Listener.close`."""
        self._link.close()
