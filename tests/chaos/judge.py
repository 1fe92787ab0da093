"""Says of a finished run what was lost, what ran twice and why, and what came late: a function of ledger and strikes.

It is strict. A fault explains a repeat only if it can: it must have hit a process that held the message, in a way that
makes that process lose it, while it held it. A killed fork server, a stopped child or a short cut explains nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from chaos.ledger import (
    ATTEMPT,
    CONFIRMED,
    DELIVERED,
    EARLY,
    FINISH,
    OK,
    REFUSED,
    RESULT,
    RETRY,
    START,
    Entry,
)
from chaos.schedule import (
    BLACKHOLE,
    CELERY,
    CUT,
    ENDED,
    FILE_HELD,
    KILL_CHILD,
    KILL_MAIN,
    KILL_SERVER,
    NETWORK,
    OUTAGES,
    REFUSE,
    SERVER,
    STOP_MAIN,
)

SECOND = 1_000_000_000
SENT_TWICE = "sent twice"
RETRIED_TWICE = "retried twice by Celery"
#: Of several faults that can explain a repeat the surest does: a death, then a silence of the holder's own.
_RANK = {STOP_MAIN: 1, BLACKHOLE: 2, REFUSE: 2, CUT: 2, KILL_SERVER: 3, FILE_HELD: 3}
#: Of a worker between two attempts to reach its broker (seconds).
LONGEST_PAUSE = 5.0


@dataclass(frozen=True)
class Strike:
    """A fault that was carried out. Times as in the ledger."""

    kind: str
    #: Name of the process hit, `w1-3`; of the link, `w1`; or `SERVER`.
    target: str
    begin: int
    end: int
    #: Children that were hit.
    pids: tuple[int, ...] = ()

    @property
    def seconds(self) -> float:
        """How long it lasted."""
        return (self.end - self.begin) / SECOND

    @property
    def silence(self) -> float:
        """For how long it can keep a worker from renewing its lease (seconds): who lost its broker tries again after
        growing pauses, in sum as long as the outage was."""
        if self.kind == STOP_MAIN:
            return self.seconds
        if self.kind in (*OUTAGES, BLACKHOLE, REFUSE):
            return self.seconds + min(self.seconds, LONGEST_PAUSE) + 0.5
        return 0.0

    @property
    def label(self) -> str:
        """How reports call it."""
        owner = " of Celery" if self.target.startswith(CELERY) else ""
        length = "" if self.kind not in (STOP_MAIN, *NETWORK) or self.seconds < 5 else ", long"
        return f"{self.kind}{owner}{length}"


@dataclass(frozen=True)
class Rules:
    """What the judge goes by (seconds)."""

    #: For how long a silent worker keeps its messages.
    lease: float = 8.0
    #: Within which the messages of the dead must be back.
    bar: float = 15.0
    #: For which a fault may show after its end, and an outcome may travel before it counts.
    linger: float = 2.0
    #: A Celery worker's messages are others' after this.
    visibility: float = 3600.0
    #: Writes the server confirmed shortly before it was killed may be gone (`appendfsync everysec`).
    forgetful: bool = False

    @property
    def shortest_silence(self) -> float:
        """A worker that is silent for less keeps what it holds: it renews its lease each third of it (seconds)."""
        return self.lease * 2 / 3 - 0.5

    def silences(self, strike: Strike) -> bool:
        """Whether a fault can keep a worker silent until others take its messages."""
        return strike.silence >= self.shortest_silence


@dataclass
class Life:
    """All that happened to one task."""

    id: str
    attempted: Entry | None = None
    confirmed: Entry | None = None
    refused: Entry | None = None
    #: By attempt, in order of time.
    starts: dict[int, list[Entry]] = field(default_factory=lambda: defaultdict(list))
    ends: dict[int, list[Entry]] = field(default_factory=lambda: defaultdict(list))
    results: list[Entry] = field(default_factory=list)
    delivered: list[int] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        """Whether an attempt came to its end that was the last."""
        return any(end.event == FINISH for ends in self.ends.values() for end in ends)

    @property
    def early(self) -> bool:
        """Whether it is acknowledged before it runs, so that it may be lost."""
        return self.attempted is not None and self.attempted.kind == EARLY

    def end_of(self, start: Entry) -> Entry | None:
        """The end of one run."""
        ends = self.ends.get(start.attempt, ())
        return next((end for end in ends if end.pid == start.pid and end.at >= start.at), None)


@dataclass(frozen=True)
class Repeat:
    """A run that was not the first of its attempt."""

    id: str
    attempt: int
    #: Of the run before and of this one.
    before: str
    again: str
    #: What explains it; empty: nothing.
    cause: str
    #: From the fault to this run, outages not counted; None where the fault did not take the message away (seconds).
    back_after: float | None = None
    late: bool = False


@dataclass
class Verdict:
    """What a run showed."""

    attempted: int = 0
    confirmed: int = 0
    finished: int = 0
    runs: int = 0
    #: Publishes that were not confirmed: their tasks may exist or not.
    unconfirmed: int = 0
    unconfirmed_ran: int = 0
    lost: list[str] = field(default_factory=list)
    #: Lost with the memory of a killed server that does not write before it confirms.
    forgotten: list[str] = field(default_factory=list)
    #: Popped by a Celery worker that then died: lost before Celery recorded them.
    lost_by_celery: list[str] = field(default_factory=list)
    #: Celery's worker wrote over the result that it is being retried, or that it could not store it.
    spoilt_by_celery: list[str] = field(default_factory=list)
    early: int = 0
    early_lost: int = 0
    no_result: list[str] = field(default_factory=list)
    wrong_result: list[str] = field(default_factory=list)
    #: Started although nobody published them.
    unknown: list[str] = field(default_factory=list)
    repeats: list[Repeat] = field(default_factory=list)
    #: Tasks that waited too long for their first run, and for how long (seconds).
    waited: list[tuple[str, float]] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    #: Started by us while Celery's worker held them: before their visibility timeout.
    taken_from_celery: list[str] = field(default_factory=list)

    @property
    def unexplained(self) -> list[Repeat]:
        """Repeats without a reason."""
        return [repeat for repeat in self.repeats if not repeat.cause]

    @property
    def late(self) -> list[Repeat]:
        """Repeats that came too late after the death that explains them."""
        return [repeat for repeat in self.repeats if repeat.late]

    def blame_celery(self, popped: set[str]) -> None:
        """Takes notice of lost tasks that the server's own log says Celery had popped."""
        self.lost_by_celery += [task_id for task_id in self.lost if task_id in popped]
        self.lost = [task_id for task_id in self.lost if task_id not in popped]

    def failures(self) -> dict[str, int]:
        """What must not be, by name; empty for a good run."""
        found: dict[str, Sequence[object]] = {
            "lost": self.lost,
            "without result": self.no_result,
            "with a wrong result": self.wrong_result,
            "unknown": self.unknown,
            "repeats unexplained": self.unexplained,
            "back too late": self.late,
            "waited too long": self.waited,
            "taken from Celery too early": self.taken_from_celery,
        }
        return {name: len(items) for name, items in found.items() if items}


def lives(entries: Iterable[Entry]) -> dict[str, Life]:
    """The ledger by task."""
    found: dict[str, Life] = {}
    for entry in sorted(entries):
        life = found.get(entry.id)
        if life is None:
            life = found[entry.id] = Life(entry.id)
        if entry.event == START:
            life.starts[entry.attempt].append(entry)
        elif entry.event in (FINISH, RETRY):
            life.ends[entry.attempt].append(entry)
        elif entry.event == RESULT:
            life.results.append(entry)
        elif entry.event == DELIVERED:
            life.delivered.append(entry.at)
        elif entry.event == ATTEMPT:
            life.attempted = entry
        elif entry.event == CONFIRMED:
            life.confirmed = entry
        elif entry.event == REFUSED:
            life.refused = entry
    return found


class Strikes:
    """The faults of a run, to be asked which of them a span of time met."""

    def __init__(self, strikes: Iterable[Strike], linger: float) -> None:
        self._linger = round(linger * SECOND)
        self._all = sorted(strikes, key=lambda strike: strike.begin)
        self._begins = [strike.begin for strike in self._all]
        self._longest = max((strike.end - strike.begin for strike in self._all), default=0) + self._linger

    def within(self, since: int, until: int) -> Iterator[Strike]:
        """Those that show between two moments."""
        for index in range(bisect_left(self._begins, since - self._longest), len(self._all)):
            strike = self._all[index]
            if strike.begin > until:
                return
            if strike.end + self._linger >= since:
                yield strike

    def outage(self, since: int, until: int) -> int:
        """For how long nobody could reach the broker between two moments."""
        return sum(
            max(0, min(until, strike.end + self._linger) - max(since, strike.begin))
            for strike in self.within(since, until)
            if strike.kind in OUTAGES
        )


def base(name: str) -> str:
    """The member that a process fills."""
    return name.partition("-")[0]


def touches(strike: Strike, start: Entry) -> bool:
    """Whether a fault met the process that ran a task, or its way to the broker."""
    if strike.kind in OUTAGES:
        return True
    if strike.kind in NETWORK:
        return strike.target == base(start.by)
    return strike.target == start.by and (not strike.pids or start.pid in strike.pids)


class Judge:
    """Of one run."""

    def __init__(self, strikes: Iterable[Strike], rules: Rules) -> None:
        self._rules = rules
        self._strikes = Strikes(strikes, rules.linger)

    def judge(self, entries: Iterable[Entry]) -> Verdict:
        """The verdict on a finished ledger."""
        verdict = Verdict()
        for life in lives(entries).values():
            self._count(life, verdict)
            if life.early:
                verdict.early += 1
                verdict.early_lost += life.confirmed is not None and not life.finished
                continue
            self._ending(life, verdict)
            for attempt, starts in life.starts.items():
                self._repeats(life, starts, verdict)
                self._wait(life, attempt, starts[0], verdict)
        return verdict

    def _count(self, life: Life, verdict: Verdict) -> None:
        verdict.attempted += life.attempted is not None
        verdict.confirmed += life.confirmed is not None
        verdict.finished += life.finished
        verdict.runs += sum(map(len, life.starts.values()))
        if life.attempted is None:
            verdict.unknown.append(life.id)
        elif life.confirmed is None:
            verdict.unconfirmed += 1
            verdict.unconfirmed_ran += bool(life.starts)

    # --- how it ended

    def _ending(self, life: Life, verdict: Verdict) -> None:
        if life.finished:
            if life.confirmed is not None and not life.results:
                self._without_result(life, verdict)
        elif life.confirmed is not None or life.starts:
            self._lost(life, verdict)
        if any(result.detail != OK for result in life.results):
            spoilt = any(base(start.by) == CELERY for starts in life.starts.values() for start in starts)
            (verdict.spoilt_by_celery if spoilt else verdict.wrong_result).append(life.id)

    @staticmethod
    def _without_result(life: Life, verdict: Verdict) -> None:
        """Celery's worker stores that a task is retried after it has sent the retry: it may then be over already, and
        Celery looks whether there is a success before it writes, not while."""
        retried = (end for ends in life.ends.values() for end in ends if end.event == RETRY)
        spoilt = any(base(end.by) == CELERY for end in retried)
        (verdict.spoilt_by_celery if spoilt else verdict.no_result).append(life.id)

    def _lost(self, life: Life, verdict: Verdict) -> None:
        last = max(entry.at for entry in self._entries(life))
        if self._rules.forgetful and any(
            strike.kind == KILL_SERVER and strike.begin - last < self._rules.linger * SECOND
            for strike in self._strikes.within(last, last + round(self._rules.linger * SECOND))
        ):
            verdict.forgotten.append(life.id)
        elif life.delivered and any(
            base(strike.target) == CELERY or strike.kind == KILL_SERVER
            for strike in self._strikes.within(life.delivered[-1], life.delivered[-1] + SECOND)
        ):
            verdict.lost_by_celery.append(life.id)
        else:
            verdict.lost.append(life.id)

    @staticmethod
    def _entries(life: Life) -> Iterator[Entry]:
        yield from (entry for entry in (life.attempted, life.confirmed) if entry is not None)
        for runs in (life.starts, life.ends):
            for entries in runs.values():
                yield from entries

    # --- why it ran again

    def _repeats(self, life: Life, starts: Sequence[Entry], verdict: Verdict) -> None:
        """All runs of one attempt but the first. A run loses its message once: it explains one more run, not two."""
        unspent: list[Entry] = []
        for before, again in pairwise(starts):
            unspent.append(before)
            found = self._strike(life, unspent, again, before.at)
            if found is None:
                cause = self._doubled(life, again.attempt)
                verdict.repeats.append(Repeat(life.id, again.attempt, before.by, again.by, cause))
                if not cause and base(before.by) == CELERY != base(again.by):
                    verdict.taken_from_celery.append(life.id)
                continue
            strike, holder = found
            if holder in unspent:
                unspent.remove(holder)
            if self._too_early(life, holder, again, strike):
                verdict.taken_from_celery.append(life.id)
            back_after, late = self._return(life, strike, holder, again)
            verdict.repeats.append(Repeat(life.id, again.attempt, holder.by, again.by, strike.label, back_after, late))

    def _strike(self, life: Life, holders: Sequence[Entry], again: Entry, since: int) -> tuple[Strike, Entry] | None:
        """The fault that took the message from a run before, or from the holder that runs it now; and that run."""
        found: list[tuple[Strike, Entry]] = []
        for start in reversed((*holders, again)):
            settled = self._settled(life, start)
            for strike in self._strikes.within(since if start is again else start.at, again.at):
                if strike.begin <= settled and self._takes(strike, start):
                    found.append((strike, start))
        return min(found, key=lambda pair: (_RANK.get(pair[0].kind, 0), pair[1] is again), default=None)

    def _settled(self, life: Life, start: Entry) -> int:
        """The moment by which the outcome of a run must have reached the broker; later faults cannot undo it."""
        end = life.end_of(start)
        if end is None:
            return start.at + 365 * 24 * 3600 * SECOND
        linger = round(self._rules.linger * SECOND)
        settled = end.at + linger
        for strike in self._strikes.within(start.at, settled + 60 * SECOND):
            if strike.begin <= settled and touches(strike, start):
                settled = max(settled, strike.end + linger)
        return settled

    def _takes(self, strike: Strike, start: Entry) -> bool:
        """Whether a fault makes a process lose the messages that it holds."""
        if not touches(strike, start):
            return False
        if base(start.by) == CELERY:
            # Celery gives back what it holds when its connection breaks.
            return strike.kind in (KILL_CHILD, KILL_MAIN, ENDED, KILL_SERVER, *NETWORK)
        if strike.kind == KILL_SERVER and self._rules.forgetful:
            return True
        return strike.kind in (KILL_CHILD, KILL_MAIN) or self._rules.silences(strike)

    def _doubled(self, life: Life, attempt: int) -> str:
        """Why there may be two messages of one attempt; empty if there is no reason."""
        if self._sent_twice(life):
            return SENT_TWICE
        # Celery sends a retry before it acknowledges what asked for it: run again, that asks again, and so on.
        asked: list[str] = []
        while attempt > 0 and not (len(asked) > 1 and CELERY in asked):
            attempt -= 1
            asked = [base(end.by) for end in life.ends.get(attempt, ()) if end.event == RETRY]
            if len(asked) < 2:
                return ""
        return RETRIED_TWICE if CELERY in asked else ""

    def _sent_twice(self, life: Life) -> bool:
        """Whether the connection or the server failed while it was published: the publisher then sends it again."""
        if life.attempted is None:
            return False
        done = life.confirmed or life.refused
        until = done.at if done is not None else life.attempted.at + 60 * SECOND
        return any(
            strike.kind == KILL_SERVER or (strike.kind in NETWORK and strike.target == base(life.attempted.by))
            for strike in self._strikes.within(life.attempted.at, until)
        )

    def _too_early(self, life: Life, last: Entry, again: Entry, strike: Strike) -> bool:
        """Whether we took what a dead Celery worker held before anybody may."""
        if base(last.by) != CELERY or base(again.by) == CELERY or strike.kind != KILL_MAIN:
            return False
        given = [at for at in life.delivered if at <= last.at]
        return again.at < (given[-1] if given else last.at) + (self._rules.visibility - 1) * SECOND

    # --- how long it took

    def _return(self, life: Life, strike: Strike, last: Entry, again: Entry) -> tuple[float | None, bool]:
        end = life.end_of(last)
        if strike.kind in OUTAGES or last is again or (end is not None and end.at < strike.begin):
            return None, False
        since = max(strike.begin, last.at)
        taken = (again.at - since - self._strikes.outage(since, again.at)) / SECOND
        return taken, taken > self._allowed(life, since, again.at)

    def _allowed(self, life: Life, since: int, until: int) -> float:
        """How long a message may be away: once the bar for each holder that may have died with it in turn."""
        held_by_celery = any(since - self._rules.visibility * SECOND <= at <= until for at in life.delivered)
        bar = self._rules.visibility + 4 * self._rules.bar if held_by_celery else self._rules.bar
        deaths = sum(
            strike.begin > since and (strike.kind == KILL_MAIN or self._rules.silences(strike))
            for strike in self._strikes.within(since, until)
        )  # fmt: skip
        return bar * (1 + deaths)

    def _wait(self, life: Life, attempt: int, first: Entry, verdict: Verdict) -> None:
        """From when a message could run to its first run."""
        if attempt == 0:
            if life.attempted is None or life.confirmed is None:
                return
            ready = max(life.confirmed.at, life.attempted.due)
        else:
            asked = [end for end in life.ends.get(attempt - 1, ()) if end.event == RETRY and end.at <= first.at]
            if not asked:
                return
            ready = max(asked[0].at, asked[0].due)
        waited = max(0, first.at - ready - self._strikes.outage(ready, first.at)) / SECOND
        verdict.waits.append(waited)
        if waited > self._allowed(life, ready, first.at):
            verdict.waited.append((life.id, waited))


__all__ = ["SENT_TWICE", "SERVER", "Judge", "Life", "Repeat", "Rules", "Strike", "Verdict", "lives"]
