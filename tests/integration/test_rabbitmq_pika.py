"""RabbitMQ through pika: the conformance suite, and what it does not ask about."""

from __future__ import annotations

import pytest

pytest.importorskip("pika", reason="pika is needed")

from umbel.brokers import Broker
from umbel.brokers.pika import PikaBroker
from umbel.testing.conformance import BrokerFixture, broker_cases, run_broker_case


class Rabbit(BrokerFixture):
    """A virtual host."""

    lease, delay = 0.2, 1.1

    def __init__(self, url: str, queue_type: str) -> None:
        self.url = url.replace("amqp://", "amqp+pika://")
        self.settings = {"task_create_missing_queue_type": queue_type}

    def open(self) -> Broker:
        """As `BrokerFixture.open`."""
        return PikaBroker(self.url, self.settings)


#: These open many connections or wait; once is enough.
@pytest.mark.parametrize("case", broker_cases(PikaBroker))
def test_conformance_on_classic_queues(case: str, rabbit_url: str) -> None:
    run_broker_case(case, Rabbit(rabbit_url, "classic"))


QUORUM = [
    name for name in broker_cases(PikaBroker) if name.startswith(("requeue", "a_t", "first", "ack", "close", "delay"))
]


@pytest.mark.parametrize("case", QUORUM)
def test_conformance_on_quorum_queues(case: str, rabbit_url: str) -> None:
    run_broker_case(case, Rabbit(rabbit_url, "quorum"))
