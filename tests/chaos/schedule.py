"""What will be done to whom and when: a function of the seed, so that a run can be repeated."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

KILL_CHILD = "kill child"
KILL_MAIN = "kill main"
KILL_ZYGOTE = "kill zygote"
KILL_PRODUCER = "kill producer"
KILL_WAITER = "kill waiter"
KILL_SERVER = "kill server"
STOP_CHILD = "stop child"
STOP_MAIN = "stop main"
CUT = "cut"
BLACKHOLE = "blackhole"
REFUSE = "refuse"
#: Not planned: a process was stopped while it held the file's lock, so that nobody else could write.
FILE_HELD = "file held"
#: Not planned either: a Celery worker ended by itself.
ENDED = "end by itself"

SERVER = "server"
PREFORK = ("w1", "w2")
THREADS = ("w3",)
WORKERS = (*PREFORK, *THREADS)
CELERY = "c1"
PRODUCERS = ("p1", "p2")
WAITERS = ("r1", "r2")
NETWORK = (CUT, BLACKHOLE, REFUSE)
#: These are everybody's outage.
OUTAGES = (KILL_SERVER, FILE_HELD)


@dataclass(frozen=True)
class Fault:
    """One planned fault."""

    #: Seconds from the start.
    at: float
    kind: str
    #: A member of the fleet, or `SERVER`.
    target: str
    #: How long it lasts (seconds); 0 for what is over at once.
    seconds: float = 0.0
    #: Which of the target's children, as a fraction of their number.
    pick: float = 0.0

    def __str__(self) -> str:
        lasting = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.at:8.2f} s  {self.kind} {self.target}{lasting}"


class Row(NamedTuple):
    """A kind of fault, how often it comes, whom it meets, and how long it lasts (seconds, smallest and largest)."""

    kind: str
    weight: float
    targets: Sequence[str]
    lasts: tuple[float, float] = (0.0, 0.0)


#: Beside what a lease lasts (8 s, renewed every 2.7 s) some are shorter, some longer.
COMMON = (
    Row(KILL_CHILD, 30, PREFORK),
    Row(KILL_MAIN, 18, WORKERS),
    Row(KILL_ZYGOTE, 6, PREFORK),
    Row(KILL_PRODUCER, 8, PRODUCERS),
    Row(KILL_WAITER, 8, WAITERS),
    Row(STOP_CHILD, 4, PREFORK, (0.2, 3.0)),
    Row(STOP_CHILD, 2, PREFORK, (9.0, 11.0)),
    Row(STOP_MAIN, 4, WORKERS, (0.2, 3.0)),
    Row(STOP_MAIN, 4, WORKERS, (10.0, 14.0)),
)
ON_REDIS = (
    Row(KILL_SERVER, 4, (SERVER,), (0.2, 3.0)),
    Row(CUT, 6, (*WORKERS, *PRODUCERS, *WAITERS)),
    Row(BLACKHOLE, 3, (*WORKERS, *PRODUCERS, *WAITERS), (0.5, 3.0)),
    Row(BLACKHOLE, 2, WORKERS, (10.0, 14.0)),
    Row(REFUSE, 3, (*WORKERS, *PRODUCERS, *WAITERS), (0.5, 6.0)),
)
ON_CELERY = (Row(KILL_CHILD, 4, (CELERY,)), Row(KILL_MAIN, 3, (CELERY,)), Row(CUT, 1, (CELERY,)))


def rows(broker: str, with_celery: bool = False) -> list[Row]:
    """The kinds of fault that a broker (`redis`, `sqlite`) can meet."""
    on_redis = ON_REDIS if broker == "redis" else ()
    return [*COMMON, *on_redis, *(ON_CELERY if with_celery else ())]


def schedule(seed: int, seconds: float, every: float, kinds: Sequence[Row]) -> list[Fault]:
    """Faults for a run, in order, on average one in `every` seconds, none in the first and last moments."""
    dice = random.Random(seed)
    faults = []
    at = every
    while at < seconds - every:
        row = dice.choices(kinds, [row.weight for row in kinds])[0]
        target = dice.choice(row.targets)
        faults.append(Fault(round(at, 2), row.kind, target, round(dice.uniform(*row.lasts), 2), dice.random()))
        at += dice.uniform(0.2, 1.8) * every
    return faults


def each_once(broker: str, every: float) -> list[Fault]:
    """A short run: every kind of fault that a broker can meet, those that last longest first."""
    found = sorted(rows(broker), key=lambda row: -row.lasts[1])
    faults = []
    for number, row in enumerate(found):
        target = row.targets[number % len(row.targets)]
        faults.append(
            Fault(round((number + 1) * every, 2), row.kind, target, round(sum(row.lasts) / 2, 2), number % 2 / 2)
        )
    return faults
