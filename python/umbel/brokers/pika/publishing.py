"""Sending messages, confirmed by the server."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pika
from pika import spec
from pika.channel import Channel
from pika.frame import Method

from umbel.brokers.base import ExchangeKind, Outgoing, Publisher, Unavailable, Unroutable
from umbel.brokers.pika.content import to_amqp
from umbel.brokers.pika.link import PATIENCE, ChannelError, Link
from umbel.brokers.pika.topology import Topology
from umbel.exceptions import OperationalError

__all__ = ["Confirming", "PikaPublisher"]

#: Messages that are due sooner than this go straight to their queue: the worker waits for the rest (seconds).
_SOON = 0.5
#: How long to wait before looking whether the server has blocked the connection (seconds).
_LOOK = 0.25


#: A message that no queue took: exchange, routing key, properties and body.
Returned = tuple[str, str, pika.BasicProperties, bytes]


class Confirming:
    """Publishes on a link and knows which messages the server has."""

    def __init__(self, link: Link, topology: Topology) -> None:
        self.link = link
        self.topology = topology
        self._sent = 0
        self._open: set[int] = set()
        self._refused = False
        self._returned: list[Returned] = []
        link.on_channel = self._begin
        self._begin(link.channel)

    def _begin(self, channel: Channel) -> None:
        self._sent = 0
        self._open.clear()
        self._returned, self._refused = [], False
        channel.add_on_return_callback(self._on_return)
        self.link.call(channel.confirm_delivery, self._on_confirm)

    def _on_confirm(self, frame: Method) -> None:
        tag, multiple = frame.method.delivery_tag, frame.method.multiple
        self._refused |= isinstance(frame.method, spec.Basic.Nack)
        if multiple:
            self._open = {number for number in self._open if number > tag}
        else:
            self._open.discard(tag)

    def _on_return(
        self, _channel: Channel, method: spec.Basic.Return, properties: pika.BasicProperties, body: bytes
    ) -> None:
        self._returned.append((method.exchange, method.routing_key, properties, body))

    def publish(self, batch: Sequence[Outgoing]) -> None:
        """As `Publisher.publish`. A message for an exchange that is not there closes the channel, and the ones before
        it may have been sent."""
        self.send_all(batch)
        self.wait()

    def send_all(self, batch: Sequence[Outgoing]) -> None:
        """Sends without waiting; `wait` does."""
        now = time.time()
        with _understood():
            for outgoing in batch:
                exchange, key = self._place(outgoing, now)
                self.send(exchange, key, *to_amqp(outgoing.message))

    def _place(self, outgoing: Outgoing, now: float) -> tuple[str, str]:
        """Where to send a message so that it gets where it is to go; that is declared, if that is ours to do."""
        exchange, key = outgoing.exchange, outgoing.routing_key
        if exchange:
            self.topology.bound(self.link, exchange)
            return exchange, key
        if not key:
            raise Unroutable(exchange, key)
        if outgoing.eta is not None and outgoing.eta - now > _SOON:
            return "", self.topology.delay(self.link, key, outgoing.eta - now)
        self.topology.queue(self.link, key)
        return "", key

    def send(self, exchange: str, routing_key: str, properties: pika.BasicProperties, body: bytes) -> None:
        """Sends one, likewise."""
        self._sent += 1
        self._open.add(self._sent)
        self.link.channel.basic_publish(exchange, routing_key, body, properties, mandatory=True)

    def wait(self) -> None:
        """Waits until the server has all that was sent. Raises Unroutable, Unavailable, OperationalError."""
        returned = self._confirmed()
        lost = [(exchange, key) for exchange, key, *_ in returned if exchange]
        again = [] if lost else returned
        if again:
            # Queues that were deleted since they were declared.
            self.topology.forget()
            with _understood():
                for exchange, key, properties, body in again:
                    self.topology.queue(self.link, key)
                    self.send(exchange, key, properties, body)
            lost = [(exchange, key) for exchange, key, *_ in self._confirmed()]
        if lost:
            raise Unroutable(*lost[0])

    def _confirmed(self) -> list[Returned]:
        """Waits for confirmations, and returns what no queue took."""
        deadline = time.monotonic() + PATIENCE
        with _understood():
            while not self.link.run(lambda: not self._open, _LOOK):
                if self.link.is_blocked:
                    self._open.clear()
                    raise Unavailable("RabbitMQ has blocked this connection: it is short of memory or disk")
                if time.monotonic() > deadline:
                    raise OperationalError(f"RabbitMQ has not confirmed a message within {PATIENCE:g} s")
        returned, refused = self._returned, self._refused
        self._returned, self._refused = [], False
        if refused:
            raise Unavailable("RabbitMQ refused a message: its queue is full, or is being deleted")
        return returned


@contextmanager
def _understood() -> Iterator[None]:
    """A channel that is closed for an exchange that is not there speaks of an unroutable message."""
    try:
        yield
    except ChannelError as error:
        if error.is_missing:
            raise Unroutable(*_named(error.text)) from error
        raise OperationalError(error.text) from error


def _named(text: str) -> tuple[str, str]:
    """The exchange that `NOT_FOUND - no exchange 'x' in vhost '/'` names."""
    return text.partition("exchange '")[2].partition("'")[0], ""


class PikaPublisher(Publisher):
    """A link of its own."""

    def __init__(self, link: Link, topology: Topology) -> None:
        self._link = link
        self._topology = topology
        self._confirming = Confirming(link, topology)

    def publish(self, batch: Sequence[Outgoing]) -> None:
        """As `Publisher.publish`."""
        self._confirming.publish(batch)

    def bind(self, queue: str, exchange: str, routing_key: str, kind: ExchangeKind) -> None:
        """As `Publisher.bind`."""
        self._topology.queue(self._link, queue)
        self._topology.exchange(self._link, exchange, kind)
        self._link.call(self._link.channel.queue_bind, queue, exchange, routing_key=routing_key)

    def close(self) -> None:
        """As `Publisher.close`."""
        self._link.close()
