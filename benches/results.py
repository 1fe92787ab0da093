"""What a run has found so far: figures of all rounds, failures, and the circumstances."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benches.failure import PeerFailed
from benches.scenarios import Figures
from benches.summary import Summary


@dataclass
class Results:
    """Filled while the run goes on."""

    circumstances: dict[str, Any]
    #: Scenario, peer, metric, one figure a round.
    figures: dict[str, dict[str, dict[str, list[float]]]] = field(default_factory=dict)
    #: Measurement, peer, seconds each took as a whole.
    durations: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    #: Peer and measurement to why it has no figures.
    failures: dict[tuple[str, str], PeerFailed] = field(default_factory=dict)

    def add(self, peer: str, figures: Figures) -> None:
        """Figures of one measurement."""
        for scenario, metrics in figures.items():
            own = self.figures.setdefault(scenario, {}).setdefault(peer, {})
            for metric, value in metrics.items():
                own.setdefault(metric, []).append(value)

    def summaries(self) -> dict[str, dict[str, dict[str, Summary]]]:
        """Medians and spread: scenario, peer, metric."""
        return {
            scenario: {
                peer: {metric: Summary.of(values) for metric, values in metrics.items()}
                for peer, metrics in peers.items()
            }
            for scenario, peers in self.figures.items()
        }

    def write(self, path: Path) -> None:
        """As JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        failures = [
            {"peer": peer, "measurement": measurement, "reason": failure.reason, "log": failure.log}
            for (peer, measurement), failure in self.failures.items()
        ]
        whole = {"circumstances": self.circumstances, "figures": self.figures, "failures": failures}
        whole["durations"] = self.durations
        path.write_text(json.dumps(whole, indent=1) + "\n")


def read(path: Path) -> Results:
    """What `write` wrote. Raises OSError, ValueError, KeyError."""
    whole = json.loads(path.read_text())
    failures = {
        (entry["peer"], entry["measurement"]): PeerFailed(entry["reason"], entry["log"]) for entry in whole["failures"]
    }
    return Results(whole["circumstances"], whole["figures"], whole["durations"], failures)
