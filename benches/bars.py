"""What is expected of a full run, and whether it was met."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benches.peers import PEERS, REFERENCE
from benches.scenarios import SCENARIOS
from benches.summary import Summary

#: Scenario, peer, metric.
Table = dict[str, dict[str, dict[str, Summary]]]

_PREFORK, _THREADS, _SQLITE, _CAULI = "umbel-prefork", "umbel-threads", "umbel-sqlite", "cauli"
_RABBIT, _PIKA, _RABBIT_CELERY, _BARE = "umbel-rabbitmq", "umbel-pika", "celery-rabbitmq", "amqp-bare"


@dataclass(frozen=True)
class Verdict:
    """Of one bar. `found` and `met` are None if what it needs was not measured."""

    title: str
    found: str | None
    met: bool | None


@dataclass(frozen=True)
class Bar:
    """An expectation.

    Attributes:
        title: As readers see it.
        find: The figure; raises LookupError if it was not measured.
        bound: What it must reach (`most`: must not pass).
        most: Whether the bound is an upper one.
        unit: Of both.
    """

    title: str
    find: Callable[[Table], float]
    bound: float
    most: bool = False
    unit: str = "times"

    def judge(self, table: Table) -> Verdict:
        """Whether it is met."""
        sign = "≤" if self.most else "≥"
        title = f"{self.title} {sign} {self.bound:,g} {self.unit}"
        try:
            found = self.find(table)
        except LookupError:
            return Verdict(title, None, None)
        met = found <= self.bound if self.most else found >= self.bound
        return Verdict(title, f"{found:,.3g} {self.unit}" if found < 1000 else f"{found:,.0f} {self.unit}", met)


def figure(scenario: str, peer: str, metric: str | None = None) -> Callable[[Table], float]:
    """A median; of the scenario's headline by default."""
    key = metric or SCENARIOS[scenario].headline.key
    return lambda table: table[scenario][peer][key].median


def ratio(scenario: str, peer: str, other: str, metric: str | None = None) -> Callable[[Table], float]:
    """A median in proportion to another peer's."""
    ours, theirs = figure(scenario, peer, metric), figure(scenario, other, metric)
    return lambda table: ours(table) / theirs(table)


def to_best_rival(scenario: str, peer: str) -> Callable[[Table], float]:
    """A median in proportion to the best of all rivals'."""
    metric = SCENARIOS[scenario].headline

    def find(table: Table) -> float:
        rivals = [
            figures[metric.key].median
            for name, figures in table[scenario].items()
            if not PEERS[name].ours and metric.key in figures
        ]
        if not rivals:
            raise LookupError(scenario)
        return table[scenario][peer][metric.key].median / (max(rivals) if metric.more else min(rivals))

    return find


def _rabbit_publish(table: Table) -> float:
    """Celery's from one thread, or from eight, whichever is more."""
    ours = figure("publish-8", _RABBIT)(table)
    return ours / max(figure(scenario, _RABBIT_CELERY)(table) for scenario in ("publish", "publish-8"))


BARS = (
    Bar("publish one by one, to Celery's", ratio("publish", _PREFORK, REFERENCE), 8),
    Bar("publish in bulk, to Celery's", ratio("bulk", _PREFORK, REFERENCE), 40),
    Bar("drain with results, prefork, to Celery's", ratio("drain", _PREFORK, REFERENCE), 25),
    Bar("drain with results, threads, to Celery's", ratio("drain", _THREADS, REFERENCE), 50),
    Bar("drain with results, threads, to Cauli's", ratio("drain", _THREADS, _CAULI), 0.8),
    Bar("round trip p50, to Celery's", ratio("round-trip", _PREFORK, REFERENCE), 0.3, most=True),
    Bar("round trip p50, to the best rival's", to_best_rival("round-trip", _PREFORK), 1, most=True),
    Bar("start p50, to Celery's", ratio("start", _PREFORK, REFERENCE), 0.25, most=True),
    Bar("start p50, to the best rival's", to_best_rival("start", _PREFORK), 1, most=True),
    Bar("idle memory, to Celery's", ratio("footprint", _PREFORK, REFERENCE, "memory"), 0.6, most=True),
    Bar("idle CPU", figure("footprint", _PREFORK, "idle_cpu"), 0.3, most=True, unit="%"),
    Bar("drain at 5 ms, prefork, to that at 0 ms", figure("distance", _PREFORK, "share_5"), 50, unit="%"),
    Bar("drain at 5 ms, threads, to that at 0 ms", figure("distance", _THREADS, "share_5"), 50, unit="%"),
    Bar("tasks of 1 ms of CPU, prefork, to two bare processes", figure("compute", _PREFORK, "share"), 95, unit="%"),
    Bar("chord of 1,000, Celery's time to ours", ratio("chord", REFERENCE, _PREFORK), 15),
    Bar("50 nested chords, Celery's bytes to ours", ratio("nested", REFERENCE, _PREFORK, "megabytes"), 10),
    Bar("RabbitMQ: publish confirmed from 8 threads, to Celery's unconfirmed", _rabbit_publish, 1),
    Bar("RabbitMQ: publish in bulk, to Celery's", ratio("bulk", _RABBIT, _RABBIT_CELERY), 2.5),
    Bar("RabbitMQ: publish in bulk, to a bare client's", ratio("bulk", _RABBIT, _BARE), 0.8),
    Bar("RabbitMQ: drain, to Celery's", ratio("drain-no-results", _RABBIT, _RABBIT_CELERY), 5),
    Bar("RabbitMQ: drain, to a bare client's", ratio("drain-no-results", _RABBIT, _BARE), 0.5),
    Bar("RabbitMQ: round trip p50, to Celery's", ratio("round-trip", _RABBIT, _RABBIT_CELERY), 0.4, most=True),
    Bar("pika: publish, to Celery's unconfirmed in bulk", ratio("bulk", _PIKA, _RABBIT_CELERY), 1),
    Bar("pika: drain, to Celery's", ratio("drain-no-results", _PIKA, _RABBIT_CELERY), 1),
    Bar("SQLite: publish in bulk", figure("bulk", _SQLITE), 10_000, unit="messages/s"),
    Bar("SQLite: drain with results", figure("drain", _SQLITE), 5_000, unit="tasks/s"),
    Bar("SQLite: round trip p50", figure("round-trip", _SQLITE), 2, most=True, unit="ms"),
)
