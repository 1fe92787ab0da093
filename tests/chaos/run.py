"""One run: fleet and broker up, faults while the producers publish, then peace until everything has finished."""

from __future__ import annotations

import itertools
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from chaos import ledger, schedule
from chaos.brokers import Broker, RedisBroker, SqliteBroker
from chaos.fleet import Fleet, links
from chaos.injector import Injector
from chaos.judge import Judge, Rules, Strike, Verdict
from chaos.ledger import EARLY, Entry, Ledger, Tail
from chaos.schedule import Fault

_TICK = 0.02
#: For how long a run goes on for what its plan still misses (seconds).
_OVERTIME = 30.0
#: So many tasks unfinished stop the producers; half of it lets them go on.
_CROWDED = 1500
#: A Celery worker's messages are others' after this (seconds); it holds none of the mix for as long while it lives.
VISIBILITY = 40.0


@dataclass(frozen=True)
class Plan:
    """What a run is made of."""

    broker: str
    faults: Sequence[Fault]
    #: For how long the producers publish (seconds); longer, up to a bound, until all faults have begun.
    seconds: float
    #: And until so many tasks are confirmed.
    tasks: int = 0
    seed: int = 1
    #: Tasks a second.
    rate: float = 100.0
    with_celery: bool = False
    #: Redis' `appendfsync`.
    fsync: str = "always"
    #: Life of results, if another than the default (seconds).
    result_expires: float | None = None
    #: Within which the messages of the dead must be back (seconds).
    bar: float = Rules.bar
    #: How long the end may take, all faults over (seconds).
    patience: float = 60.0

    @property
    def rules(self) -> Rules:
        """What the judge goes by."""
        visibility = VISIBILITY if self.with_celery else Rules.visibility
        return Rules(bar=self.bar, visibility=visibility, forgetful=self.broker == "redis" and self.fsync == "everysec")


@dataclass
class Counts:
    """The ledger as it grows."""

    events: Counter[str] = field(default_factory=Counter)
    seen: set[str] = field(default_factory=set)
    #: Confirmed tasks that have no result yet, and which waiter waits for it.
    awaited: dict[str, str] = field(default_factory=dict)
    #: Confirmed tasks that have not finished.
    unfinished: set[str] = field(default_factory=set)
    finished: set[str] = field(default_factory=set)
    #: Acknowledged before they run: nobody waits for them.
    early: set[str] = field(default_factory=set)

    def add(self, entry: Entry) -> None:
        """Counts an entry."""
        self.events[entry.event] += 1
        if entry.event == ledger.START:
            self.seen.add(entry.by)
        elif entry.event == ledger.ATTEMPT and entry.kind == EARLY:
            self.early.add(entry.id)
        elif entry.event == ledger.CONFIRMED and entry.id not in self.early:
            if entry.id not in self.finished:
                self.unfinished.add(entry.id)
        elif entry.event == ledger.FINISH:
            self.finished.add(entry.id)
            self.unfinished.discard(entry.id)
        elif entry.event == ledger.RESULT:
            self.awaited.pop(entry.id, None)


@dataclass
class Outcome:
    """What a run came to."""

    plan: Plan
    settings: dict[str, Any]
    strikes: list[Strike]
    verdict: Verdict
    #: Processes that ended by themselves, or stayed when they should not.
    mishaps: list[str]
    #: Dead letters: id and reason.
    buried: list[tuple[str, str]]
    #: From the end of the faults until everything had finished (seconds).
    drained_in: float
    folder: Path

    def failures(self) -> list[str]:
        """What must not be, in words; empty for a good run."""
        found = [f"{count} {name}" for name, count in self.verdict.failures().items()]
        found += self.mishaps
        found += [f"{task_id} went to the dead letters: {reason}" for task_id, reason in self.buried]
        return found

    @property
    def kills(self) -> int:
        """How many processes were killed."""
        return sum(strike.kind.startswith("kill") for strike in self.strikes)

    def as_json(self) -> dict[str, Any]:
        """For a file."""
        return {
            "plan": asdict(self.plan) | {"faults": [asdict(fault) for fault in self.plan.faults]},
            "settings": self.settings,
            "strikes": [asdict(strike) for strike in self.strikes],
            "verdict": asdict(self.verdict) | {"waits": sorted(self.verdict.waits)[-100:]},
            "mishaps": self.mishaps,
            "buried": self.buried,
            "drained_in": self.drained_in,
            "failures": self.failures(),
        }


class Run:
    """Of a plan, in a folder of its own."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        self.folder = folder
        Ledger(folder / "ledger")
        self.counts = Counts()
        self._tail = Tail(folder / "ledger")
        self.broker = self._open_broker()
        visibility = VISIBILITY if plan.with_celery else None
        self.fleet = Fleet(folder, self.broker.url, plan.seed, plan.rate, visibility, plan.result_expires)
        self._started = time.monotonic()
        self.injector = Injector(plan.faults, self.fleet, self.broker, self.counts.seen, self._started)
        self._next_waiter = itertools.cycle(self.fleet.waiters.values())

    def _open_broker(self) -> Broker:
        if self.plan.broker == "redis":
            return RedisBroker(self.folder, links(self.plan.with_celery), self.plan.fsync)
        return SqliteBroker(self.folder)

    def go(self, show: Callable[[Run, float], None] = lambda _run, _elapsed: None) -> Outcome:
        """Runs it through. `show` is called every now and then with the seconds since the start."""
        try:
            while (elapsed := time.monotonic() - self._started) < self.plan.seconds or self._unmet(elapsed):
                self.injector.run_due(time.monotonic())
                self._tick()
                show(self, elapsed)
            drained_in = self._drain(show)
            buried = self._buried()
        finally:
            self._close()
        return self._outcome(drained_in, buried)

    def _unmet(self, elapsed: float) -> bool:
        """Whether to go on: for faults whose target was not ready, or for more tasks."""
        missing = self.plan.tasks - self.counts.events[ledger.CONFIRMED]
        return (self.injector.planned > 0 or missing > 0) and elapsed < self.plan.seconds + _OVERTIME

    # --- while it runs

    def _tick(self, producing: bool = True) -> None:
        for name, member in self.fleet.members.items():
            if (producing or name not in self.fleet.producers) and member.tend() and name in self.fleet.waiters:
                self._tell_again(name)
        self._follow()
        if producing:
            self._pace()
        time.sleep(_TICK)

    def _follow(self) -> None:
        """Reads what is new in the ledger, and has a waiter wait for each task that was confirmed."""
        for entry in self._tail.entries():
            self.counts.add(entry)
            if entry.event == ledger.CONFIRMED and entry.id not in self.counts.early:
                waiter = next(self._next_waiter)
                self.counts.awaited[entry.id] = waiter.name
                waiter.tell(f"{entry.id}\n")

    def _tell_again(self, name: str) -> None:
        """A waiter died: its successor waits for what it waited for."""
        waiter = self.fleet.waiters[name]
        for task_id, awaited_by in self.counts.awaited.items():
            if awaited_by == name:
                waiter.tell(f"{task_id}\n")

    def _pace(self) -> None:
        """Stops the producers while too much is unfinished: what waits in a long line is not late."""
        pause = self.folder / "pause"
        if len(self.counts.unfinished) > _CROWDED:
            pause.touch()
        elif len(self.counts.unfinished) < _CROWDED / 2:
            pause.unlink(missing_ok=True)

    # --- the end

    def _drain(self, show: Callable[[Run, float], None]) -> float:
        """All faults over, waits until everything has finished and every result is there."""
        self.injector.finish()
        for producer in self.fleet.producers.values():
            producer.stop()
        begin = time.monotonic()
        while (taken := time.monotonic() - begin) < self.plan.patience:
            self._tick(producing=False)
            show(self, time.monotonic() - self._started)
            if not self.counts.unfinished and not self.counts.awaited:
                break
        return taken

    def _buried(self) -> list[tuple[str, str]]:
        app = self.broker.app()
        letters = app.client.dead_letters()
        app.close()
        return [(str((letter["headers"] or {}).get("id")), letter["reason"]) for letter in letters]

    def _close(self) -> None:
        self.injector.finish()
        for member in self.fleet.members.values():
            if member.name not in self.fleet.producers or member.running:
                member.stop()
        self.broker.stop()
        self._tail.close()

    def _outcome(self, drained_in: float, buried: list[tuple[str, str]]) -> Outcome:
        endings = [Strike(schedule.ENDED, name, at, at) for name, at in self.fleet.endings()]
        strikes = [*self.injector.strikes, *endings]
        judge = Judge(strikes, self.plan.rules)
        verdict = judge.judge(ledger.read(self.folder / "ledger"))
        if self.plan.with_celery and verdict.lost:
            verdict.blame_celery(self.broker.popped(verdict.lost))
        mishaps = self.fleet.failures() + [f"process {name} outlived it" for name in self.injector.survivors]
        settings = {
            **self.broker.settings,
            "fleet": f"{', '.join(schedule.PREFORK)}: prefork -c 2; {', '.join(schedule.THREADS)}: threads -c 4",
            "settings of the app": "defaults"
            + (f", result_expires {self.plan.result_expires:g} s" if self.plan.result_expires else ""),
            "rate": f"{self.plan.rate:g} tasks/s",
        }
        if self.plan.with_celery:
            settings["celery"] = f"prefork -c 2, acks_late, reject_on_worker_lost, visibility_timeout {VISIBILITY:g} s"
        return Outcome(self.plan, settings, strikes, verdict, mishaps, buried, drained_in, self.folder)


def clean(folder: Path) -> None:
    """Removes a run's folder."""
    shutil.rmtree(folder, ignore_errors=True)
