"""What a scenario is, and what a measurement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benches.bench import Bench
from benches.peers import Peer

EVERY, OURS, FIRST = "every", "ours", "first"


@dataclass(frozen=True)
class Metric:
    """A column of a table.

    Attributes:
        key: Name in the figures.
        title: As readers see it.
        unit: Likewise.
        more: Whether more is better.
    """

    key: str
    title: str
    unit: str
    more: bool


@dataclass(frozen=True)
class Scenario:
    """A table: one kind of figures. The first metric is the one that is compared, and drawn."""

    name: str
    #: For charts and lists.
    label: str
    #: For tables: what exactly is measured.
    title: str
    metrics: tuple[Metric, ...]

    @property
    def headline(self) -> Metric:
        """The metric that is compared."""
        return self.metrics[0]


#: Scenario, metric, figure.
Figures = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Measurement:
    """What is measured at a stretch, for one scenario or several.

    Attributes:
        name: For the command line.
        scenarios: What it yields figures for.
        measure: Takes them. Raises PeerFailed.
        rounds: EVERY; OURS: rivals are measured in the first only; FIRST: everyone is.
        wants: Whether a peer is measured.
    """

    name: str
    scenarios: tuple[Scenario, ...]
    measure: Callable[[Bench], Figures]
    rounds: str = EVERY
    wants: Callable[[Peer], bool] = lambda peer: True

    def due(self, number: int, peer: Peer) -> bool:
        """Whether a peer is measured in the round of this number (from 0)."""
        again = self.rounds == EVERY or (self.rounds == OURS and peer.ours)
        takes_part = self.wants(peer) if peer.measured is None else self.name in peer.measured
        return takes_part and (number == 0 or again)
