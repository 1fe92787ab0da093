"""The contract of a broker in Python. `umbel.testing.conformance` checks one against it; docs/brokers.md explains.

    Broker ── publisher() ──► Publisher   sends messages
           ├─ consumer(…) ──► Consumer    takes messages and ends them
           ├─ admin() ──────► Admin       counts, purges, dead letters
           ├─ doorbell(…) ──► Doorbell    tells when to look
           ├─ control() ────► Control     speaks to all workers, keeps locks
           └─ listener(…) ──► Listener    hears what is said to all workers

Every handle is a connection of its own, used by one thread at a time; several handles are used at once. The core calls
them from its own threads: **whatever waits must let go of the GIL while it does** (sockets, files, locks and
`time.sleep` do), or the whole process stands still. A broker is made anew in every process: nothing is used across a
fork.

Moments are seconds since the epoch, durations are seconds, both as floats.

What may pass is raised as `OperationalError` (the connection is lost: the core closes the handle and opens another, or
calls `Consumer.recover`), or as its subclasses `Unavailable` (the same call may work later on this handle) and
`AccessRefused` (wrong password or missing permission: tried again with long pauses). `Unroutable` says that no queue is
bound where a message was sent, `ImproperlyConfigured` that a setting or URL cannot work. Anything else is taken for the
fault of what was asked: the message or settlement at fault goes to the dead letters.
"""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from typing import Any, ClassVar, Literal, NamedTuple

from umbel._native import MalformedError, Message, Outgoing, Settlement
from umbel.config import hide_password
from umbel.exceptions import OperationalError, UmbelError

__all__ = [
    "AccessRefused",
    "Admin",
    "Broker",
    "BrokerSettings",
    "Capability",
    "Consumer",
    "Control",
    "DeadLetter",
    "Delivery",
    "Doorbell",
    "ExchangeKind",
    "Exchanged",
    "Listener",
    "MalformedError",
    "Message",
    "Outgoing",
    "PollingDoorbell",
    "Publisher",
    "Settlement",
    "Unavailable",
    "Unroutable",
    "Waiting",
]

ExchangeKind = Literal["direct", "topic", "fanout"]
#: The settings `broker_*`, `task_queue_*`, `worker_lease` and so on that brokers may read, by name.
BrokerSettings = Mapping[str, Any]


#: Secrets in the query of a URL.
_SECRET = re.compile(r"([?&][^=&]*(?:pass|secret|token)[^=&]*=)[^&;]*", re.IGNORECASE)


class Capability(str, Enum):
    """A part of the contract that a broker may lack; the core does without, or does it itself, as is said here."""

    #: A batch that is published, and a settlement with its follow-ups, happen whole or not at all. Without it:
    #: follow-ups first, the end of the delivery last, so that a crash between the two repeats and loses nothing.
    ATOMIC = "atomic"
    #: What is held outlives its connection: it comes back by another's `heartbeat` once its holder has been silent for
    #: the length of its lease. Without it: the end of a connection gives back at once what was held on it.
    LEASES = "leases"
    #: Settled messages can wait for their time in the broker. Without it: the worker goes on holding them, in memory.
    DELAYS = "delays"
    #: So do messages that are published with an `eta`. Without it: they are delivered at once, and the worker that gets
    #: them has them delayed.
    PUBLISHED_DELAYS = "published-delays"
    #: Delayed messages come with a fetch or heartbeat, so that consumers tell when the next one is due
    #: (`Exchanged.next_due`). Without it: they come by themselves.
    DUES = "dues"
    #: kombu's four steps of priority (0, 3, 6, 9), 0 served first. Without it: as the broker has it.
    PRIORITIES = "priorities"
    #: Of several queues each gets its turn.
    FAIRNESS = "fairness"
    #: Headers, unusual properties and priorities come out letter for letter as they went in. Without it: as equal
    #: values.
    VERBATIM = "verbatim"
    #: Bytes that form no message can be in a queue, and are delivered as they are.
    MALFORMED = "malformed"
    #: Named exchanges, direct and topic. Without it: queues on them are an error.
    EXCHANGES = "exchanges"
    #: A fanout exchange fills queues.
    FANOUT = "fanout"
    #: Who waits for messages takes none by it.
    OVERHEARING = "overhearing"
    #: Messages that wait can be looked at and stay as they are. Without it: `peek` is an error.
    PEEKING = "peeking"
    #: Something can be said to all workers, and answered. Without it: remote control is an error.
    CONTROL = "control"
    #: What is revoked is kept. Without it: as in Celery, workers that hear of it remember it as long as they run.
    REVOCATIONS = "revocations"
    #: Messages can take locks as they are published. Without it: unique and debounced tasks are an error.
    LOCKS = "locks"
    #: Rate limits that workers share. Without it: they are each worker's own.
    TURNS = "turns"
    #: What goes back to the front of a queue is next in line. Without it: somewhere in it.
    FRONT = "front"

    def __str__(self) -> str:
        return str(self.value)


class Unavailable(OperationalError):
    """The broker cannot do this now: busy, full, starting. The handle can be used again."""


class AccessRefused(OperationalError):
    """Wrong password, or missing permission."""


class Unroutable(UmbelError):
    """No queue is bound to the exchange with the routing key; the message was not sent."""

    def __init__(self, exchange: str, routing_key: str) -> None:
        super().__init__(f"No queue is bound to exchange {exchange!r} with routing key {routing_key!r}")
        self.exchange = exchange
        self.routing_key = routing_key


class Delivery(NamedTuple):
    """A message that is held from now on."""

    #: Key to settle it with: unique per delivery, also of the same message, and over handles; it contains the worker's
    #: id.
    tag: str
    #: Queue it was taken from.
    queue: str
    #: A message, or bytes: kombu's envelope (`Message.to_envelope`), or whatever else was in the queue.
    payload: Message | bytes
    #: Whether it was handed out before, and how often that ended with a dead child or worker. None: as the payload
    #: says.
    redelivered: bool | None = None
    failures: int | None = None


class Exchanged(NamedTuple):
    """What a consumer's exchange brings back."""

    #: Newly held messages, in the order in which they should start.
    deliveries: Sequence[Delivery]
    #: Tags among the settled ones that were not held, or not any more. Nothing was published for them.
    lost: Sequence[str]
    #: When the earliest delayed message is due, with `Capability.DUES`.
    next_due: float | None


class DeadLetter(NamedTuple):
    """A message that nobody could deal with."""

    #: Unique in the store.
    id: str
    #: Queue it came from.
    queue: str
    #: One word for filters: `undecodable`, `unknown-task`, `rejected`, `max-deliveries`, …
    kind: str
    #: A sentence for people.
    reason: str
    #: Since when.
    at: float
    payload: Message | bytes


class Waiting(NamedTuple):
    """A message that nobody holds."""

    payload: Message | bytes
    #: When it is due, if it is delayed.
    due: float | None


class Broker(ABC):
    """A broker that a URL names. The core makes one in each process and asks it for handles."""

    #: What it can do.
    capabilities: ClassVar[Collection[Capability]] = ()

    def __init__(self, url: str, settings: BrokerSettings) -> None:
        """Connects to nothing yet.

        Args:
            url: `broker_url` as it was given, with `;` between several.
            settings: What a broker may want to know: `broker_transport_options`, `broker_heartbeat`, `task_queues`
                (a list of dicts with `name`, `exchange`, `kind`, `routing_key`, `durable` and `arguments`) and others;
                `umbel.brokers.opening` lists them.

        Raises:
            ImproperlyConfigured: The URL or a setting cannot work.
        """
        self.url = url
        self.settings = settings
        self.options: Mapping[str, Any] = settings.get("broker_transport_options") or {}

    def display_url(self) -> str:
        """The URL for people, without password."""
        return _SECRET.sub(r"\1***", hide_password(self.url))

    def identity(self) -> str:
        """Equal for two URLs exactly when they name the same store."""
        return self.display_url().partition("?")[0]

    @abstractmethod
    def publisher(self) -> Publisher:
        """Opens a connection to publish on."""

    @abstractmethod
    def consumer(self, worker_id: str, queues: Sequence[str], lease: float) -> Consumer:
        """Opens a connection to consume on.

        Args:
            worker_id: Unique per start of a worker; a part of every tag.
            queues: To take from.
            lease: How long the worker may stay silent before its messages go back.
        """

    @abstractmethod
    def admin(self) -> Admin:
        """Opens a connection for people and tools."""

    def doorbell(self, queues: Sequence[str]) -> Doorbell:
        """Opens whatever tells that `queues` may have work; not used where consumers listen themselves."""
        return PollingDoorbell(self.admin(), queues)

    def control(self) -> Control:
        """Opens a connection to speak to all workers and to release locks."""
        raise NotImplementedError(f"{type(self).__name__}.control")

    def listener(self, exchange: str) -> Listener:
        """Opens a connection to hear what is said on `exchange` from now on."""
        raise NotImplementedError(f"{type(self).__name__}.listener")


class Publisher(ABC):
    """Sends messages."""

    @abstractmethod
    def publish(self, batch: Sequence[Outgoing]) -> None:
        """Publishes all, in order, and returns once the broker has them: from then on no crash loses them.

        A queue that is addressed by its name (exchange "") and is not there is made. A message that no queue takes is
        refused with `Unroutable`. After any other error some may have been published: repeating is safe.
        """

    def publish_once(
        self, outgoing: Outgoing, name: str, owner: str, life: float, replace: bool
    ) -> tuple[bool, str | None]:
        """Takes the lock `name` for `owner` and publishes in one step, with `Capability.LOCKS`.

        If another owner has the lock and it is not to be replaced, nothing happens and its name is returned with False.
        If this owner has it already, nothing happens either, with True. Else True and the owner it was taken from, if
        any. A lock is given up after `life` seconds.
        """
        raise NotImplementedError(f"{type(self).__name__}.publish_once")

    def bind(self, queue: str, exchange: str, routing_key: str, kind: ExchangeKind) -> None:
        """Declares that `queue` receives what is sent there, for all publishers, with `Capability.EXCHANGES`."""
        raise NotImplementedError(f"{type(self).__name__}.bind")

    def close(self) -> None:  # noqa: B027, there may be nothing to end
        """Ends the connection."""


class Consumer(ABC):
    """Takes messages and settles them. A message that was taken is held: nobody else is given it until it is
    settled."""

    #: Whether `wait` works; else the broker's doorbell tells of work.
    listens: bool = False

    @abstractmethod
    def settle(self, settlements: Sequence[Settlement]) -> Sequence[str]:
        """Ends deliveries, in order, and returns the tags that were not held.

        Nothing is published for a tag that is not held; one that is settled twice, also in one call, is not held the
        second time: after a lost reply the call is repeated. Of one settlement first `publish`, then `action`:

        - `ack`: the message is forgotten.
        - `requeue`: back to its queue and marked `redelivered`; next in line if `front`, else behind the others;
          counted as failure if `failed`.
        - `delay`: back in its queue, behind the others and unmarked, at `until`. Only with `Capability.DELAYS`.
        - `dead`: kept as dead letter, with `kind` and `reason`.

        Then `releases`: locks (`Capability.LOCKS`) that are given up, by name and owner; another owner's stay, and so
        do those of a tag that is not held any more.

        Without a tag it was acknowledged before, and only `publish` and `releases` are left to do.
        """

    @abstractmethod
    def fetch(self, want: int) -> Sequence[Delivery]:
        """Takes up to `want` messages that are there, without waiting, and holds them: first in, first out."""

    def next_due(self) -> float | None:
        """When the earliest delayed message is due, with `Capability.DUES`."""
        return None

    def exchange(self, settlements: Sequence[Settlement], want: int) -> Exchanged:
        """Settles, then fetches. To be overridden where both are one round trip."""
        lost = self.settle(settlements) if settlements else ()
        deliveries = self.fetch(want) if want else ()
        return Exchanged(deliveries, lost, self.next_due())

    def heartbeat(self) -> int:
        """Says "alive"; called at least every third of a lease while the worker lives. With `Capability.LEASES` it
        keeps what is held, moves delayed messages that are due to their queues, and takes back what others held whose
        lease has run out: to the front, in order, counted as failures. Returns how many messages of others went
        back."""
        return 0

    def wait(self, timeout: float, waker: int) -> bool:
        """Waits up to `timeout` seconds, without the GIL, until there may be messages (True: they are fetched next), if
        `listens`. Ends early, with False, when the descriptor `waker` is readable: a `select` on it and the
        connection's socket does."""
        raise NotImplementedError(f"{type(self).__name__}.wait")

    @abstractmethod
    def recover(self, known: Sequence[str]) -> Sequence[str]:
        """Connects anew after an `OperationalError`. What this worker held and is not in `known` goes back to the
        front; tags of `known` that are not held any more are returned: all of them, without `Capability.LEASES`."""

    @abstractmethod
    def close(self) -> None:
        """Gives back everything still held: to the front, in order, not counted as failures. Closing twice is fine."""

    def disconnect(self) -> None:  # noqa: B027, likewise
        """The handle is used no more; called last, also without `close`. What is held stays so until its lease ends, or
        goes back with the connection."""


class Admin(ABC):
    """For people and tools."""

    @abstractmethod
    def length(self, queue: str) -> int:
        """Messages that are ready in `queue`; held and delayed ones not counted. 0 for one that is not there."""

    @abstractmethod
    def purge(self, queue: str) -> int:
        """Removes all ready messages of `queue` and says how many."""

    def peek(self, queue: str, limit: int) -> Sequence[Waiting]:
        """Up to `limit` messages that nobody holds: ready ones in the order of service, then delayed ones by their
        time. Only with `Capability.PEEKING`."""
        raise NotImplementedError(f"{type(self).__name__}.peek")

    @abstractmethod
    def dead_letters(self, offset: int, limit: int) -> Sequence[DeadLetter]:
        """Dead letters, oldest first."""

    def dead_letter(self, id: str) -> DeadLetter | None:
        """One dead letter, if there."""
        page, offset = 100, 0
        while letters := self.dead_letters(offset, page):
            for letter in letters:
                if letter.id == id:
                    return letter
            offset += page
        return None

    @abstractmethod
    def dead_replay(self, ids: Sequence[str]) -> int:
        """Puts dead letters back into their queues, failures reset; says how many were found."""

    @abstractmethod
    def dead_purge(self, ids: Sequence[str] | None) -> int:
        """Forgets dead letters (None: all); says how many."""

    def advice(self) -> list[str]:
        """What is wrong with the way the server is set up, for people."""
        return []

    def close(self) -> None:  # noqa: B027, there may be nothing to end
        """Ends the connection."""


class Doorbell(ABC):
    """Tells when there may be work."""

    @abstractmethod
    def wait(self, timeout: float) -> bool:
        """Waits up to `timeout` seconds, without the GIL, until a queue may have messages. It never misses: what was
        published before the call makes it return True too. Rings without a reason are allowed."""

    def close(self) -> None:  # noqa: B027, there may be nothing to end
        """Ends the connection."""


class PollingDoorbell(Doorbell):
    """Looks at the length of each queue, the less often the quieter it is."""

    #: Pause after the first look without news, and the longest one (seconds).
    first, longest = 0.005, 0.1

    def __init__(self, admin: Admin, queues: Sequence[str]) -> None:
        self._admin = admin
        self._queues = list(queues)

    def rings(self) -> bool:
        """Looks once."""
        return any(self._admin.length(queue) for queue in self._queues)

    def wait(self, timeout: float) -> bool:
        """As `Doorbell.wait`."""
        deadline, pause = time.monotonic() + timeout, self.first
        while not self.rings():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(pause, left))
            pause = min(2 * pause, self.longest)
        return True

    def close(self) -> None:
        """As `Doorbell.close`."""
        self._admin.close()


class Control:
    """What concerns all workers. Each method is called only with the capability it names."""

    def broadcast(self, exchange: str, message: Message) -> None:
        """Says `message` to everybody who listens on `exchange` now (`CONTROL`)."""
        raise NotImplementedError(f"{type(self).__name__}.broadcast")

    def open_box(self, exchange: str, routing_key: str) -> None:
        """Opens a box: answers sent there from now on are kept for `collect` (`CONTROL`). With the exchange "" it is
        the queue of that name, into which workers put the results of `rpc://`."""
        raise NotImplementedError(f"{type(self).__name__}.open_box")

    def collect(self, exchange: str, routing_key: str, timeout: float) -> Sequence[Message]:
        """Takes the answers in a box; waits for one up to `timeout` seconds if there is none (`CONTROL`)."""
        raise NotImplementedError(f"{type(self).__name__}.collect")

    def close_box(self, exchange: str, routing_key: str) -> None:
        """Closes a box and forgets what is in it (`CONTROL`)."""
        raise NotImplementedError(f"{type(self).__name__}.close_box")

    def answer(self, exchange: str, routing_key: str, message: Message) -> None:
        """Puts an answer into a box; one for a box that is not open is dropped (`CONTROL`)."""
        raise NotImplementedError(f"{type(self).__name__}.answer")

    def revoke(self, revocations: Sequence[tuple[str, float]]) -> None:
        """Keeps texts until their ends; of one that is kept already the later end counts (`REVOCATIONS`)."""
        raise NotImplementedError(f"{type(self).__name__}.revoke")

    def revoked(self) -> Sequence[tuple[str, float]]:
        """All texts that have not ended (`REVOCATIONS`)."""
        raise NotImplementedError(f"{type(self).__name__}.revoked")

    def turn(self, limit: str, pause: float, patience: float) -> tuple[float, bool]:
        """The next turn under a rate limit: seconds to wait, and whether it is kept (`TURNS`). Turns are `pause` apart;
        one that would come later than `patience` is not kept: who gets that answer asks again after that time, behind
        all who were told so before. Another pause than the last begins anew."""
        raise NotImplementedError(f"{type(self).__name__}.turn")

    def close(self) -> None:
        """Ends the connection."""


class Listener(ABC):
    """Hears what is said to all workers, from the moment it was opened."""

    @abstractmethod
    def next(self, timeout: float) -> Sequence[Message]:
        """Waits up to `timeout` seconds, without the GIL, for messages, in the order they were said; possibly none."""

    def close(self) -> None:  # noqa: B027, there may be nothing to end
        """Ends the connection."""
