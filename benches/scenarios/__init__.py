"""All measurements, in the order in which they are taken; adding one is a file here and a line below."""

from __future__ import annotations

from benches.scenarios.distance import FAR
from benches.scenarios.drain import DRAIN, DRAIN_NO_RESULTS
from benches.scenarios.footprint import IDLE
from benches.scenarios.latency import LATENCY
from benches.scenarios.length import TASK_COMPUTES, TASK_WAITS
from benches.scenarios.publish import PUBLISH, PUBLISH_TOGETHER
from benches.scenarios.scenario import Figures, Measurement, Metric, Scenario
from benches.scenarios.workflows import WORKFLOWS

__all__ = ["MEASUREMENTS", "SCENARIOS", "Figures", "Measurement", "Metric", "Scenario"]

MEASUREMENTS: dict[str, Measurement] = {
    measurement.name: measurement
    for measurement in (
        PUBLISH,
        PUBLISH_TOGETHER,
        DRAIN,
        DRAIN_NO_RESULTS,
        LATENCY,
        TASK_COMPUTES,
        TASK_WAITS,
        FAR,
        WORKFLOWS,
        IDLE,
    )
}
SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario for measurement in MEASUREMENTS.values() for scenario in measurement.scenarios
}
