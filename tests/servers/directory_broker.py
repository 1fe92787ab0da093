"""The example broker, for tests: `examples/brokers` on the path, and a fixture for the conformance suite."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from umbel.brokers import Broker
from umbel.testing.conformance import BrokerFixture

FOLDER = Path(__file__).parents[2] / "examples" / "brokers"
if str(FOLDER) not in sys.path:
    sys.path.insert(0, str(FOLDER))

from directory import DirectoryBroker  # noqa: E402, it is in that folder

__all__ = ["FOLDER", "DirectoryBroker", "DirectoryFixture"]


class DirectoryFixture(BrokerFixture):
    """A folder, and a clock that stands still until it is moved."""

    lease, delay = 10.0, 60.0

    def __init__(self, folder: Path, broker: type[DirectoryBroker] = DirectoryBroker) -> None:
        self._folder, self._broker = folder, broker
        self._moment = 1_700_000_000.0
        self._lock = threading.Lock()

    def _make(self) -> DirectoryBroker:
        return self._broker(f"directory:DirectoryBroker://{self._folder}", {})

    def open(self) -> Broker:
        """As `BrokerFixture.open`."""
        broker = self._make()
        broker.now = self.now  # type: ignore[method-assign]
        return broker

    def advance(self, seconds: float) -> None:
        """Moves the clock."""
        with self._lock:
            self._moment += seconds

    def now(self) -> float:
        """The clock's time."""
        with self._lock:
            return self._moment

    def inject_malformed(self, queue: str, raw: bytes) -> None:
        """As `BrokerFixture.inject_malformed`."""
        folder = self._make().folder()
        with folder.locked():
            folder.put(queue, "0", raw)
        folder.close()
