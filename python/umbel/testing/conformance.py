"""The suite that every broker of Umbel passes, for brokers of others.

from umbel.testing.conformance import BrokerFixture, broker_cases, run_broker_case

class Fixture(BrokerFixture):
    def __init__(self, folder):
        self.folder = folder

    def open(self):
        return DirectoryBroker(f"directory:DirectoryBroker://{self.folder}", {})

@pytest.mark.parametrize("case", broker_cases(DirectoryBroker))
def test_conformance(case, tmp_path):
    run_broker_case(case, Fixture(tmp_path))
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod

from umbel import _native
from umbel.brokers import Broker

__all__ = ["BrokerFixture", "broker_cases", "run_broker_case"]


class BrokerFixture(ABC):
    """An empty broker of its own for one case."""

    #: Lease the cases open consumers with, and how far in the future they delay messages (seconds). Short, for
    #: `advance` really waits unless it is replaced.
    lease: float = 0.4
    delay: float = 0.4

    @abstractmethod
    def open(self) -> Broker:
        """The broker. Called many times: each call makes a new object over the same store, as another process would."""

    def advance(self, seconds: float) -> None:
        """Lets time pass: moves a clock, or waits as this does."""
        time.sleep(seconds)

    def now(self) -> float | None:
        """The time that `advance` moves; None: the machine's."""
        return None

    def inject_malformed(self, queue: str, raw: bytes) -> None:
        """Puts bytes that form no message into `queue`, behind the others; with `Capability.MALFORMED`."""
        raise NotImplementedError(f"{type(self).__name__}.inject_malformed")


def broker_cases(broker: type[Broker], *, others: bool = False) -> list[str]:
    """Names of the cases about what the class says it can do; with `others`, of the rest."""
    can = {str(capability) for capability in broker.capabilities}
    return [name for name, needs in _native.conformance_cases() if (can >= set(needs)) is not others]


def run_broker_case(name: str, fixture: BrokerFixture) -> None:
    """Runs one case, without holding the GIL between calls of the broker.

    Raises:
        AssertionError: The broker does not do what it must; the standard error stream has the place in the suite.
        KeyError: There is no such case.
    """
    _native.run_conformance_case(name, fixture)
