"""The suite runs on brokers in Python; what the bridge does in their place passes it too."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from servers.directory_broker import DirectoryBroker, DirectoryFixture

from umbel._native import set_clock_offset
from umbel.brokers import Broker, Capability, Consumer, Settlement
from umbel.testing.conformance import broker_cases, run_broker_case


@pytest.mark.parametrize("case", broker_cases(DirectoryBroker))
def test_the_example_passes_the_suite(case: str, tmp_path: Path) -> None:
    run_broker_case(case, DirectoryFixture(tmp_path))


def test_cases_are_chosen_by_what_a_broker_can_do() -> None:
    chosen, others = broker_cases(DirectoryBroker), broker_cases(DirectoryBroker, others=True)
    assert "a_silent_workers_messages_return" in chosen
    assert "one_of_many_that_are_the_same_is_published" in others
    assert not set(chosen) & set(others)
    assert len(broker_cases(Broker)) < len(chosen)


class Ignored(DirectoryBroker):
    """Forgets to end deliveries."""

    def consumer(self, worker_id: str, queues: Sequence[str], lease: float) -> Consumer:
        consumer = super().consumer(worker_id, queues, lease)
        consumer.settle = lambda settlements: []  # type: ignore[method-assign]
        return consumer


def test_a_broker_that_breaks_the_contract_is_found_out(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="requeue_to_the_front_is_next: "):
        run_broker_case("requeue_to_the_front_is_next", DirectoryFixture(tmp_path, Ignored))
    with pytest.raises(KeyError):
        run_broker_case("no_such_case", DirectoryFixture(tmp_path))


class WithoutDelays(DirectoryBroker):
    """The worker's messages wait in the bridge."""

    capabilities = tuple(can for can in DirectoryBroker.capabilities if can is not Capability.DELAYS)

    def consumer(self, worker_id: str, queues: Sequence[str], lease: float) -> Consumer:
        consumer = super().consumer(worker_id, queues, lease)
        settle = consumer.settle

        def checked(settlements: Sequence[Settlement]) -> Sequence[str]:
            assert all(settlement.action != "delay" for settlement in settlements)
            return settle(settlements)

        consumer.settle = checked  # type: ignore[method-assign]
        return consumer


class ProcessClockFixture(DirectoryFixture):
    """On the clock of this process, which is the bridge's."""

    moved = 0.0

    def advance(self, seconds: float) -> None:
        """Moves it."""
        self.moved += seconds
        set_clock_offset(self.moved)

    def now(self) -> float:
        """Its time."""
        return time.time() + self.moved


@pytest.fixture
def without_delays(tmp_path: Path) -> Iterator[ProcessClockFixture]:
    """A broker that cannot delay."""
    yield ProcessClockFixture(tmp_path, WithoutDelays)
    set_clock_offset(0.0)


@pytest.mark.parametrize("case", [name for name in broker_cases(WithoutDelays) if "delay" in name or "recover" in name])
def test_the_bridge_delays_for_a_broker_that_cannot(case: str, without_delays: ProcessClockFixture) -> None:
    run_broker_case(case, without_delays)
