"""RabbitMQ's broker, and what it cannot do."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from umbel.brokers.base import Admin, Broker, BrokerSettings, Capability, Consumer, Control, Listener, Publisher
from umbel.brokers.pika.administration import PikaAdmin
from umbel.brokers.pika.consuming import PikaConsumer
from umbel.brokers.pika.link import Link, connection_parameters
from umbel.brokers.pika.publishing import Confirming, PikaPublisher
from umbel.brokers.pika.remote import PikaControl, PikaListener
from umbel.brokers.pika.topology import Topology

__all__ = ["PikaBroker"]

#: Seconds between heartbeats, unless `broker_heartbeat` says otherwise.
_HEARTBEAT = 60


class PikaBroker(Broker):
    """On the servers that the URL names, of which one is connected to."""

    capabilities = (
        Capability.DELAYS,
        Capability.PUBLISHED_DELAYS,
        Capability.FAIRNESS,
        Capability.EXCHANGES,
        Capability.FANOUT,
        Capability.CONTROL,
        Capability.REVOCATIONS,
    )

    def __init__(self, url: str, settings: BrokerSettings) -> None:
        """As `Broker`."""
        super().__init__(url, settings)
        given = settings.get("broker_heartbeat")
        heartbeat = _HEARTBEAT if given is None else int(given)
        # Whoever reads all the time hears a heartbeat; others would miss it.
        self._reading = connection_parameters(url, settings, heartbeat)
        self._writing = connection_parameters(url, settings, 0)

    def identity(self) -> str:
        """Servers and virtual host."""
        parts = [urlsplit(one) for one in self.url.split(";") if one]
        return ";".join(f"{part.hostname}:{part.port or ''}{part.path}" for part in parts)

    def publisher(self) -> Publisher:
        """As `Broker.publisher`."""
        return PikaPublisher(Link(self._writing), Topology(self.settings))

    def consumer(self, worker_id: str, queues: Sequence[str], lease: float) -> Consumer:
        """As `Broker.consumer`."""
        return PikaConsumer(
            lambda: Link(self._reading),
            lambda: Confirming(Link(self._writing), Topology(self.settings)),
            Topology(self.settings),
            worker_id,
            queues,
        )

    def admin(self) -> Admin:
        """As `Broker.admin`."""
        return PikaAdmin(lambda: Link(self._writing), Topology(self.settings))

    def control(self) -> Control:
        """As `Broker.control`."""
        return PikaControl(lambda: Link(self._writing), self.settings)

    def listener(self, exchange: str) -> Listener:
        """As `Broker.listener`."""
        return PikaListener(Link(self._reading), exchange)
