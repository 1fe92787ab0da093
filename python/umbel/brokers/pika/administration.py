"""Counting, purging and dead letters."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from umbel.brokers.base import Admin, DeadLetter, Message
from umbel.brokers.pika.consuming import DEAD_LETTERS, Got, Tap, declare_dead_letters
from umbel.brokers.pika.content import DEAD, to_amqp
from umbel.brokers.pika.link import ChannelError, Link
from umbel.brokers.pika.publishing import Confirming
from umbel.brokers.pika.topology import Topology
from umbel.exceptions import OperationalError

__all__ = ["PikaAdmin", "walk"]

#: Dead letters taken at once.
_PAGE = 500


class PikaAdmin(Admin):
    """A link of its own."""

    def __init__(self, connect: Callable[[], Link], topology: Topology) -> None:
        self._connect = connect
        self._link = connect()
        self._confirming = Confirming(self._link, topology)

    def length(self, queue: str) -> int:
        """As `Admin.length`."""
        try:
            frame = self._link.call(self._link.channel.queue_declare, queue, passive=True)
        except ChannelError as error:
            return _nothing(error)
        return int(frame.method.message_count)

    def purge(self, queue: str) -> int:
        """As `Admin.purge`."""
        try:
            frame = self._link.call(self._link.channel.queue_purge, queue)
        except ChannelError as error:
            return _nothing(error)
        return int(frame.method.message_count)

    # --- dead letters: they are taken, looked at and put back

    @contextmanager
    def _letters(self) -> Iterator[Iterator[tuple[Got, DeadLetter]]]:
        """All dead letters, which nobody else has meanwhile. What is not ended goes back to where it was."""
        link = self._connect()
        try:
            declare_dead_letters(link)
            yield ((got, _letter(got)) for got in walk(link, DEAD_LETTERS))
        except ChannelError as error:
            raise OperationalError(error.text) from error
        finally:
            link.close()

    def dead_letters(self, offset: int, limit: int) -> list[DeadLetter]:
        """As `Admin.dead_letters`."""
        if not limit:
            return []
        with self._letters() as letters:
            found: list[DeadLetter] = []
            for position, (_, letter) in enumerate(letters):
                if position >= offset:
                    found.append(letter)
                if len(found) == limit:
                    break
            return found

    def dead_letter(self, id: str) -> DeadLetter | None:
        """As `Admin.dead_letter`."""
        with self._letters() as letters:
            return next((letter for _, letter in letters if letter.id == id), None)

    def dead_replay(self, ids: Sequence[str]) -> int:
        """As `Admin.dead_replay`."""
        return self._end(lambda letter: letter.id in ids, replay=True)

    def dead_purge(self, ids: Sequence[str] | None) -> int:
        """As `Admin.dead_purge`."""
        return self._end(lambda letter: ids is None or letter.id in ids, replay=False)

    def _end(self, is_wanted: Callable[[DeadLetter], bool], replay: bool) -> int:
        with self._letters() as letters:
            wanted = [(got, letter) for got, letter in letters if is_wanted(letter)]
            if replay:
                for _, letter in wanted:
                    assert isinstance(letter.payload, Message), "RabbitMQ holds nothing else"
                    self._confirming.topology.queue(self._link, letter.queue)
                    message = letter.payload.marked(False, 0)
                    self._confirming.send("", letter.queue, *to_amqp(message))
                self._confirming.wait()
            for got, _ in wanted:
                got.tap.end(got)
            return len(wanted)

    def close(self) -> None:
        """As `Admin.close`."""
        self._link.close()


def _nothing(error: ChannelError) -> int:
    """A queue that is not there has nothing in it."""
    if error.is_missing:
        return 0
    raise OperationalError(error.text) from error


def walk(link: Link, queue: str) -> Iterator[Got]:
    """All that is in a queue; what is not ended goes back with the link."""
    ready: deque[Got] = deque()
    tap, is_last = Tap(link, queue, ready), False
    while not is_last:
        tap.open(_PAGE)
        is_last = tap.runs_dry()
        while ready:
            yield ready.popleft()


def _letter(got: Got) -> DeadLetter:
    headers, message = got.message.headers, got.message
    facts = {name: headers.pop(DEAD + name, None) for name in ("id", "queue", "kind", "detail", "at")}
    payload = Message(
        headers, message.body, message.content_type, message.content_encoding, message.properties,
        "", str(facts["queue"] or ""), got.marked, message.failures,
    )  # fmt: skip
    at = facts["at"] if isinstance(facts["at"], int) else 0
    id, queue, kind, detail = (str(facts[name] or "") for name in ("id", "queue", "kind", "detail"))
    return DeadLetter(id, queue, kind, detail, at / 1e6, payload)
