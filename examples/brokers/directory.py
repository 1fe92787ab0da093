"""A broker in a folder: every message is a file, and taking one is renaming it.

    broker_url = "directory:DirectoryBroker:///var/spool/tasks"

All processes that share the folder share the queues. One lock file makes each call a step of its own; what a crash of a
process in the middle of a call leaves behind is a message too many, never one too few. (Nothing is synced to disk: it
outlives processes, not power cuts.) It is an example of how to write a broker for Umbel, and passes Umbel's conformance
suite in what it says it can do; SQLite and Redis do the same faster.

    queues/<queue>/<priority>.<number>           ready, in the order of their names
    held/<worker>/<number>.<priority>!<queue>    taken; the number is in the tag
    delayed/<due>.<number>.<priority>!<queue>
    dead/<number>.raw, dead/<number>.json        a dead letter, and why it is one
    workers/<worker>                             when its lease ends
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote, unquote

from umbel.brokers import (
    Admin,
    Broker,
    Capability,
    Consumer,
    DeadLetter,
    Delivery,
    Exchanged,
    MalformedError,
    Message,
    Outgoing,
    PollingDoorbell,
    Publisher,
    Settlement,
    Unavailable,
    Unroutable,
    Waiting,
)
from umbel.exceptions import ImproperlyConfigured, OperationalError

__all__ = ["DirectoryBroker"]

#: Numbers of messages that were given back count down from here, others up.
MIDDLE = 10**20
STEPS = "0369"


class Folder:
    """What all handles do, under the lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for name in ("queues", "held", "delayed", "dead", "workers"):
            (path / name).mkdir(parents=True, exist_ok=True)
        self._lock = open(path / "lock", "a+")  # noqa: SIM115, open as long as the handle

    def close(self) -> None:
        self._lock.close()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One at a time, of all processes. Waiting for a file lock lets other threads run."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._lock, fcntl.LOCK_UN)
        except OSError as error:
            # A full disk may have room later; whatever else it is, opening the folder anew is worth a try.
            raise (Unavailable if error.errno == 28 else OperationalError)(str(error)) from error

    def number(self) -> int:
        """A number that was not there before."""
        self._lock.seek(0)
        number = int(self._lock.read() or 0) + 1
        self._lock.truncate(0)
        self._lock.write(str(number))
        self._lock.flush()
        return number

    def write(self, path: Path, content: bytes) -> None:
        """Files appear whole."""
        path.parent.mkdir(exist_ok=True)
        temporary = self.path / "unfinished"
        temporary.write_bytes(content)
        temporary.replace(path)

    def queue(self, queue: str) -> Path:
        return self.path / "queues" / f"q{quote(queue, safe='')}"

    def ready(self, queue: str) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            return sorted(_names(self.queue(queue)))
        return []

    def put(self, queue: str, step: str, content: bytes, front: bool = False) -> None:
        number = MIDDLE - self.number() if front else MIDDLE + self.number()
        self.write(self.queue(queue) / f"{step}.{number:021d}", content)

    def publish(self, batch: Sequence[Outgoing], now: float) -> None:
        for outgoing in batch:
            if outgoing.exchange or not outgoing.routing_key:
                raise Unroutable(outgoing.exchange, outgoing.routing_key)
        for outgoing in batch:
            content = outgoing.message.to_envelope(str(self.number()))
            step = _step(outgoing.message)
            if outgoing.eta is not None and outgoing.eta > now:
                self.write(self.delayed(outgoing.eta, step, outgoing.routing_key), content)
            else:
                self.put(outgoing.routing_key, step, content)

    def delayed(self, until: float, step: str, queue: str) -> Path:
        return self.path / "delayed" / f"{round(until * 1e6):020d}.{self.number():020d}.{step}!{quote(queue, safe='')}"

    def waiting(self) -> list[tuple[float, str, str, Path]]:
        """Due time, step, queue and file of delayed messages, in due order."""
        found = []
        for name in sorted(_names(self.path / "delayed")):
            place, _, queue = name.partition("!")
            due, _, step = place.split(".")
            found.append((int(due) / 1e6, step, unquote(queue), self.path / "delayed" / name))
        return found

    def move_due(self, now: float) -> None:
        for due, step, queue, path in self.waiting():
            if due <= now:
                self.put(queue, step, path.read_bytes())
                path.unlink()

    def held(self, worker: str) -> list[tuple[int, str, str, Path]]:
        """Number, step, queue and file of what a worker holds, in the order it was taken."""
        folder, found = self.path / "held" / quote(worker, safe=""), []
        with contextlib.suppress(FileNotFoundError):
            for name in _names(folder):
                place, _, queue = name.partition("!")
                number, step = place.split(".")
                found.append((int(number), step, unquote(queue), folder / name))
        return sorted(found)

    def give_back(self, worker: str, failed: bool, but: Sequence[int] = ()) -> int:
        """To the front, the last one first, so that they stand in the order in which they were taken."""
        back = [held for held in self.held(worker) if held[0] not in but]
        for _, step, queue, path in reversed(back):
            self.put(queue, step, _returned(path.read_bytes(), failed), front=True)
            path.unlink()
        return len(back)


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def _step(message: Message) -> str:
    """kombu's step of a priority."""
    return max((step for step in STEPS if int(step) <= message.priority), default="0")


def _returned(content: bytes, failed: bool) -> bytes:
    """Marked as handed out before."""
    try:
        message = Message.from_envelope(content)
    except MalformedError:
        return content
    tag = str(message.properties.get("delivery_tag", ""))
    return message.marked(True, message.failures + failed).to_envelope(tag)


class DirectoryBroker(Broker):
    """In the folder that the path of the URL names."""

    capabilities = (
        Capability.LEASES,
        Capability.DELAYS,
        Capability.PUBLISHED_DELAYS,
        Capability.DUES,
        Capability.PRIORITIES,
        Capability.FAIRNESS,
        Capability.VERBATIM,
        Capability.MALFORMED,
        Capability.OVERHEARING,
        Capability.PEEKING,
        Capability.FRONT,
    )

    def now(self) -> float:
        """The time; tests move it."""
        return time.time()

    def folder(self) -> Folder:
        path = self.url.partition("://")[2].partition("?")[0]
        if not path.startswith("/"):
            raise ImproperlyConfigured(
                f"{self.url!r}: name the folder by its absolute path, as in …:///var/spool/tasks"
            )
        try:
            return Folder(Path(unquote(path)))
        except OSError as error:
            raise OperationalError(str(error)) from error

    def publisher(self) -> Publisher:
        return DirectoryPublisher(self)

    def consumer(self, worker_id: str, queues: Sequence[str], lease: float) -> Consumer:
        return DirectoryConsumer(self, worker_id, queues, lease)

    def admin(self) -> DirectoryAdmin:
        return DirectoryAdmin(self)

    def doorbell(self, queues: Sequence[str]) -> PollingDoorbell:
        return DirectoryDoorbell(self, queues)


class DirectoryPublisher(Publisher):
    def __init__(self, broker: DirectoryBroker) -> None:
        self._folder, self._now = broker.folder(), broker.now

    def publish(self, batch: Sequence[Outgoing]) -> None:
        with self._folder.locked():
            self._folder.publish(batch, self._now())

    def close(self) -> None:
        self._folder.close()


class DirectoryConsumer(Consumer):
    def __init__(self, broker: DirectoryBroker, worker: str, queues: Sequence[str], lease: float) -> None:
        self._broker, self._folder, self._now = broker, broker.folder(), broker.now
        self._worker, self._queues, self._lease = worker, list(queues), lease
        with self._folder.locked():
            self._renew()

    def _renew(self) -> None:
        self._folder.write(
            self._folder.path / "workers" / quote(self._worker, safe=""), str(self._now() + self._lease).encode()
        )

    def exchange(self, settlements: Sequence[Settlement], want: int) -> Exchanged:
        with self._folder.locked():
            self._renew()
            lost = self.settle(settlements)
            self._folder.move_due(self._now())
            waiting = self._folder.waiting()
            return Exchanged(self.fetch(want), lost, waiting[0][0] if waiting else None)

    def settle(self, settlements: Sequence[Settlement]) -> list[str]:
        lost = []
        held = {f"{self._worker}.{number}": (step, queue, path) for number, step, queue, path in self._held()}
        for settlement in settlements:
            if settlement.tag is None:
                self._folder.publish(settlement.publish, self._now())
            elif settlement.tag in held:
                # First what follows, then the end of this: a crash in between repeats.
                self._folder.publish(settlement.publish, self._now())
                self._end(settlement, *held.pop(settlement.tag))
            else:
                lost.append(settlement.tag)
        return lost

    def _held(self) -> list[tuple[int, str, str, Path]]:
        return self._folder.held(self._worker)

    def _end(self, settlement: Settlement, step: str, queue: str, path: Path) -> None:
        folder = self._folder
        if settlement.action == "requeue":
            folder.put(queue, step, _returned(path.read_bytes(), settlement.failed), settlement.front)
        elif settlement.action == "delay":
            path.rename(folder.delayed(settlement.until, step, queue))
            return
        elif settlement.action == "dead":
            letter = folder.path / "dead" / f"{folder.number():020d}.raw"
            why = {
                "queue": queue,
                "kind": settlement.kind,
                "reason": settlement.reason,
                "at": self._now(),
                "step": step,
            }
            folder.write(letter.with_suffix(".json"), json.dumps(why).encode())
            folder.write(letter, path.read_bytes())
        path.unlink()

    def fetch(self, want: int) -> list[Delivery]:
        taken: list[Delivery] = []
        for step in STEPS:
            ready = {queue: [name for name in self._folder.ready(queue) if name[0] == step] for queue in self._queues}
            while len(taken) < want and any(ready.values()):
                # The first queue goes to the end of the line, so that each has its turn.
                self._queues.append(queue := self._queues.pop(0))
                if ready[queue]:
                    taken.append(self._take(queue, step, self._folder.queue(queue) / ready[queue].pop(0)))
        return taken

    def _take(self, queue: str, step: str, path: Path) -> Delivery:
        number = self._folder.number()
        held = self._folder.path / "held" / quote(self._worker, safe="")
        held.mkdir(exist_ok=True)
        path.rename(held := held / f"{number:020d}.{step}!{quote(queue, safe='')}")
        return Delivery(f"{self._worker}.{number}", queue, held.read_bytes())

    def heartbeat(self) -> int:
        returned, folder = 0, self._folder
        with folder.locked():
            self._renew()
            folder.move_due(self._now())
            for name in _names(folder.path / "workers"):
                lease = folder.path / "workers" / name
                if float(lease.read_text()) <= self._now():
                    returned += folder.give_back(unquote(name), failed=True)
                    lease.unlink()
        return returned

    def recover(self, known: Sequence[str]) -> list[str]:
        self._folder.close()
        self._folder = self._broker.folder()
        with self._folder.locked():
            self._renew()
            keep = [number for number, *_ in self._held() if f"{self._worker}.{number}" in known]
            self._folder.give_back(self._worker, failed=False, but=keep)
        return [tag for tag in known if tag not in {f"{self._worker}.{number}" for number in keep}]

    def close(self) -> None:
        with self._folder.locked():
            self._folder.give_back(self._worker, failed=False)
            (self._folder.path / "workers" / quote(self._worker, safe="")).unlink(missing_ok=True)

    def disconnect(self) -> None:
        self._folder.close()


class DirectoryAdmin(Admin):
    def __init__(self, broker: DirectoryBroker) -> None:
        self._folder, self._now = broker.folder(), broker.now

    def length(self, queue: str) -> int:
        return len(self._folder.ready(queue))

    def purge(self, queue: str) -> int:
        with self._folder.locked():
            ready = self._folder.ready(queue)
            for name in ready:
                (self._folder.queue(queue) / name).unlink()
            return len(ready)

    def peek(self, queue: str, limit: int) -> list[Waiting]:
        with self._folder.locked():
            ready = [Waiting(self._folder.queue(queue).joinpath(name).read_bytes(), None) for name in
                     self._folder.ready(queue)[:limit]]  # fmt: skip
            delayed = [(due, path) for due, _, of, path in self._folder.waiting() if of == queue]
            return ready + [Waiting(path.read_bytes(), due) for due, path in delayed[: limit - len(ready)]]

    def _letters(self) -> list[Path]:
        return sorted((self._folder.path / "dead").glob("*.raw"))

    def dead_letters(self, offset: int, limit: int) -> list[DeadLetter]:
        with self._folder.locked():
            return [_letter(path) for path in self._letters()[offset : offset + limit]]

    def _take_out(self, path: Path) -> None:
        path.unlink()
        path.with_suffix(".json").unlink()

    def dead_replay(self, ids: Sequence[str]) -> int:
        with self._folder.locked():
            found = [path for path in self._letters() if path.stem in ids]
            for path in found:
                why, content = json.loads(path.with_suffix(".json").read_bytes()), path.read_bytes()
                with contextlib.suppress(MalformedError):
                    message = Message.from_envelope(content)
                    tag = str(message.properties.get("delivery_tag", ""))
                    content = message.marked(message.redelivered, 0).to_envelope(tag)
                self._folder.put(why["queue"], why["step"], content)
                self._take_out(path)
            return len(found)

    def dead_purge(self, ids: Sequence[str] | None) -> int:
        with self._folder.locked():
            found = [path for path in self._letters() if ids is None or path.stem in ids]
            for path in found:
                self._take_out(path)
            return len(found)

    def close(self) -> None:
        self._folder.close()


def _letter(path: Path) -> DeadLetter:
    why = json.loads(path.with_suffix(".json").read_bytes())
    return DeadLetter(path.stem, why["queue"], why["kind"], why["reason"], why["at"], path.read_bytes())


class DirectoryDoorbell(PollingDoorbell):
    """Rings for delayed messages too: who waits must learn when to look."""

    def __init__(self, broker: DirectoryBroker, queues: Sequence[str]) -> None:
        super().__init__(broker.admin(), queues)
        self._folder, self._now = broker.folder(), broker.now
        self._seen = self._delayed()

    def _delayed(self) -> set[str]:
        return set(_names(self._folder.path / "delayed"))

    def rings(self) -> bool:
        before, self._seen = self._seen, self._delayed()
        due = any(int(name.partition(".")[0]) / 1e6 <= self._now() for name in self._seen)
        return due or bool(self._seen - before) or super().rings()

    def close(self) -> None:
        super().close()
        self._folder.close()
