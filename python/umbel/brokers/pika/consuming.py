"""Taking messages and ending them.

A fetch opens a *tap* for each queue: a consumer that the server gives no more than a number of messages. Once it has
got what it wants the taps stay open, for they are full: what is acknowledged lets as many flow in for the next fetch. A
fetch that finds too little closes them, so that nothing is held that nobody asked for; a wait opens them anew.
"""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pika
from pika import spec
from pika.channel import Channel
from pika.frame import Method

from umbel.brokers.base import Consumer, Delivery, Exchanged, Message, Settlement
from umbel.brokers.pika.content import DEAD, REDELIVERED, from_amqp, to_amqp
from umbel.brokers.pika.link import ChannelError, Link
from umbel.brokers.pika.publishing import Confirming
from umbel.brokers.pika.topology import Topology
from umbel.exceptions import OperationalError

__all__ = ["DEAD_LETTERS", "PikaConsumer", "Tap"]

#: Queue of dead letters.
DEAD_LETTERS = "umbel.dead"
#: What the server sends ahead at most, whatever is asked for.
_MOST = 1000
#: Characters of the reason of a dead letter: headers must fit into a frame.
_LONGEST_REASON = 2000
#: How long the server has to send as many messages as were ended (seconds).
_FLOW = 0.003


class Got(NamedTuple):
    """A message that the server gave us and that is not ended."""

    queue: str
    number: int
    message: Message
    tap: Tap
    consumer: str
    #: Whether its headers say that it was handed out before; the server says so of every letter that was looked at.
    marked: bool


class Tap:
    """One queue's consumer, open or closed."""

    def __init__(self, link: Link, queue: str, into: deque[Got]) -> None:
        self._link = link
        self.queue = queue
        self._into = into
        self._tag: str | None = None
        #: How many messages the server may give us and has not.
        self.credit = 0

    @property
    def is_open(self) -> bool:
        """Whether messages may come."""
        return self._tag is not None

    def open(self, count: int) -> None:
        """Up to `count` messages may come, and one more for each of them that ends."""
        self.close()
        channel = self._link.channel
        self._link.call(channel.basic_qos, prefetch_count=min(count, _MOST), global_qos=False)
        self._tag, self.credit = str(uuid.uuid4()), min(count, _MOST)
        self._link.call(channel.basic_consume, self.queue, self._received, consumer_tag=self._tag)

    def runs_dry(self) -> bool:
        """Whether the queue had less to give than this tap was opened for; asked once what it had is here."""
        self._link.look()
        if self.credit:
            # Whoever is asked about a queue has sent before what was in it, and the channel passes that on before it
            # answers a call of its own.
            channel = self._link.channel
            self._link.call(channel.queue_declare, self.queue, passive=True)
            self._link.call(channel.basic_qos, prefetch_count=1, global_qos=False)
        return self.credit > 0

    def close(self) -> None:
        """No more messages come."""
        if self._tag is not None:
            tag, self._tag, self.credit = self._tag, None, 0
            self._link.call(self._link.channel.basic_cancel, tag)

    def lose(self) -> None:
        """The channel is gone, or the server has closed this one."""
        self._tag, self.credit = None, 0

    def end(self, got: Got, back: bool = False) -> None:
        """A message that came through here is forgotten, or goes back to its place in the queue."""
        (self._link.channel.basic_nack if back else self._link.channel.basic_ack)(got.number)
        if got.consumer == self._tag:
            self.credit += 1

    def is_called(self, tag: str) -> bool:
        """Whether this is the server's name for it."""
        return self._tag == tag

    def _received(
        self, _channel: Channel, method: spec.Basic.Deliver, properties: pika.BasicProperties, body: bytes
    ) -> None:
        message = from_amqp(properties, body, method.exchange, method.routing_key, method.redelivered)
        if method.consumer_tag == self._tag:
            self.credit -= 1
        marked = REDELIVERED in (properties.headers or {})
        self._into.append(Got(self.queue, method.delivery_tag, message, self, method.consumer_tag, marked))


class PikaConsumer(Consumer):
    """A link to take from, and one to publish on once there is something to publish."""

    listens = True

    def __init__(
        self, connect: Callable[[], Link], connect_publisher: Callable[[], Confirming], topology: Topology,
        worker_id: str, queues: Sequence[str],
    ) -> None:  # fmt: skip
        self._connect, self._connect_publisher = connect, connect_publisher
        self._topology = topology
        self._worker = worker_id
        self._queues = list(queues)
        # Over handles of one worker too.
        self._number = time.time_ns()
        self._publisher: Confirming | None = None
        self._want = 1
        self._listening = False
        self._closed = False
        self._begin()

    def _begin(self) -> None:
        self._link = self._connect()
        self._ready: deque[Got] = deque()
        self._held: dict[str, Got] = {}
        self._dues: list[float] = []
        self._listening = False
        self._taps = deque(Tap(self._link, queue, self._ready) for queue in self._queues)
        for queue in self._queues:
            self._topology.queue(self._link, queue)
        self._link.on_channel = self._on_channel
        self._on_channel(self._link.channel)

    def _on_channel(self, channel: Channel) -> None:
        channel.add_on_cancel_callback(self._cancelled)

    def _cancelled(self, frame: Method) -> None:
        """The server ended a consumer: its queue was deleted. It is declared and opened anew by the next fetch."""
        self._topology.forget()
        for tap in self._taps:
            if tap.is_called(frame.method.consumer_tag):
                tap.lose()
                self._listening = False

    def _guarded(self, work: Callable[[], None]) -> None:
        """A channel that the server closed has given everything back: that is a lost connection to the core."""
        try:
            work()
        except ChannelError as error:
            raise OperationalError(f"RabbitMQ closed the channel: {error.text}") from error

    # --- settling

    def settle(self, settlements: Sequence[Settlement]) -> list[str]:
        """As `Consumer.settle`."""
        lost: list[str] = []
        self._guarded(lambda: self._settle(settlements, lost))
        return lost

    def _settle(self, settlements: Sequence[Settlement], lost: list[str]) -> None:
        ends: dict[str, tuple[Got, bool]] = {}
        for settlement in settlements:
            if settlement.tag is not None:
                got = self._held.get(settlement.tag)
                if got is None or settlement.tag in ends:
                    lost.append(settlement.tag)
                    continue
                returns = settlement.action == "requeue" and settlement.front and not settlement.failed
                if not returns and settlement.action != "ack":
                    self._replace(settlement, got)
                ends[settlement.tag] = (got, returns)
            if settlement.publish:
                self._follow_ups().send_all(settlement.publish)
        if self._publisher is not None:
            # What follows, and what takes the place of a message, is with the server before the message goes.
            self._publisher.wait()
        for tag, (got, returns) in ends.items():
            got.tap.end(got, back=returns)
            del self._held[tag]
        if ends:
            self._link.look()

    def _replace(self, settlement: Settlement, got: Got) -> None:
        """Sends another message in the place of one that ends."""
        publisher, queue, message = self._follow_ups(), got.queue, got.message
        if settlement.action == "dead":
            why = {
                "id": str(uuid.uuid4()), "queue": queue, "kind": settlement.kind,
                "detail": settlement.reason[:_LONGEST_REASON], "at": int(time.time() * 1e6),
            }  # fmt: skip
            declare_dead_letters(publisher.link)
            properties, body = to_amqp(message, **{DEAD + name: value for name, value in why.items()})
            # It is to stay, whatever was meant for the task.
            properties.expiration, properties.delivery_mode = None, 2
            publisher.send("", DEAD_LETTERS, properties, body)
        elif settlement.action == "delay":
            place = publisher.topology.delay(publisher.link, queue, settlement.until - time.time())
            publisher.send("", place, *to_amqp(message))
            self._dues.append(settlement.until)
        else:
            publisher.send("", queue, *to_amqp(message.marked(True, message.failures + settlement.failed)))

    def _follow_ups(self) -> Confirming:
        if self._publisher is None:
            self._publisher = self._connect_publisher()
        return self._publisher

    # --- fetching

    def fetch(self, want: int) -> list[Delivery]:
        """As `Consumer.fetch`."""
        self._want = want
        self._guarded(lambda: self._fill(want))
        deliveries: list[Delivery] = []
        while self._ready and len(deliveries) < want:
            deliveries.append(self._hold(self._ready.popleft()))
        return deliveries

    def _fill(self, want: int) -> None:
        self._link.look()
        if self._listening and (self._ready or self._credit() >= want):
            # Who waits is to have at once what came; the taps stay open for the next wait.
            return
        self._listening = False
        if self._credit():
            # As many as were ended flow in by themselves.
            self._link.run(lambda: len(self._ready) >= want or not self._credit(), _FLOW)
        dry: set[Tap] = set()
        while (missing := want - len(self._ready)) > 0 and len(dry) < len(self._taps):
            opened = self._open_taps([tap for tap in self._taps if tap not in dry], missing)
            dry |= {tap for tap in opened if tap.runs_dry()}
        if len(self._ready) < want:
            self._close_taps()

    def _credit(self) -> int:
        return sum(tap.credit for tap in self._taps)

    def _open_taps(self, taps: Sequence[Tap], count: int) -> list[Tap]:
        """Shares `count` among taps; where there are more of them, others have their turn next time."""
        self._taps.rotate(-1)
        shares = [(tap, (count + len(taps) - 1 - position) // len(taps)) for position, tap in enumerate(taps)]
        for tap, share in shares:
            if share:
                self._topology.queue(self._link, tap.queue)
                tap.open(share)
        return [tap for tap, share in shares if share]

    def _close_taps(self) -> None:
        self._listening = False
        for tap in self._taps:
            tap.close()

    def _hold(self, got: Got) -> Delivery:
        self._number += 1
        tag = f"{self._worker}.{self._number}"
        self._held[tag] = got
        return Delivery(tag, got.queue, got.message)

    def exchange(self, settlements: Sequence[Settlement], want: int) -> Exchanged:
        """As `Consumer.exchange`."""
        held = [got for settlement in settlements if (got := self._held.get(settlement.tag or ""))]
        # What came through a tap that was closed since lets nothing flow in.
        flows = sum(got.tap.is_called(got.consumer) for got in held)
        if len(self._ready) + self._credit() + flows > want:
            # No more is to flow in than somebody wants.
            self._guarded(self._close_taps)
        return super().exchange(settlements, want)

    def next_due(self) -> float | None:
        """The earliest of those that this worker has delayed."""
        now = time.time()
        self._dues = [due for due in self._dues if due > now]
        return min(self._dues, default=None)

    # --- the rest

    def wait(self, timeout: float, waker: int) -> bool:
        """As `Consumer.wait`: the taps are open meanwhile, and a message that comes waits for the fetch."""
        woken: list[bool] = []

        def listen() -> None:
            # A queue that was deleted is declared anew.
            self._link.look()
            if not self._listening:
                self._open_taps(list(self._taps), max(self._want, len(self._taps)))
                self._listening = True
            with self._link.watched(waker, lambda: woken.append(True)):
                self._link.run(lambda: bool(self._ready or woken or not self._listening), timeout)

        self._guarded(listen)
        return bool(self._ready)

    def heartbeat(self) -> int:
        """Keeps the connections alive; the server takes back what their end leaves behind."""
        self._guarded(self._link.look)
        if self._publisher is not None:
            self._publisher.link.look()
        return 0

    def recover(self, known: Sequence[str]) -> list[str]:
        """As `Consumer.recover`: with the connection all is given back."""
        self.disconnect()
        self._topology.forget()
        self._begin()
        return list(known)

    def close(self) -> None:
        """As `Consumer.close`."""
        if not self._closed:
            self._closed = True
            self._guarded(self._close_taps)
            self.disconnect()

    def disconnect(self) -> None:
        """As `Consumer.disconnect`."""
        self._link.close()
        if self._publisher is not None:
            self._publisher.link.close()
            self._publisher = None


def declare_dead_letters(link: Link) -> None:
    """The queue in which dead letters stay."""
    link.call(link.channel.queue_declare, DEAD_LETTERS, durable=True)
