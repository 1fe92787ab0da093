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


@pytest.mark.parametrize("case", broker_cases(PikaBroker))
def test_conformance_on_classic_queues(case: str, rabbit_url: str) -> None:
    run_broker_case(case, Rabbit(rabbit_url, "classic"))


#: What another type of queue may do in another way.
QUORUM = [
    "ack_ends_a_message",
    "first_in_first_out",
    "requeue_to_the_back_is_last",
    "failed_deliveries_are_counted",
    "delayed_messages_come_in_due_order",
    "closing_keeps_nothing_back",
    "replay_puts_letters_back",
    "a_thousand_at_once",
]


@pytest.mark.parametrize("case", QUORUM)
def test_conformance_on_quorum_queues(case: str, rabbit_url: str) -> None:
    run_broker_case(case, Rabbit(rabbit_url, "quorum"))
