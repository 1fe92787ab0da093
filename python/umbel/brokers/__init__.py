"""Brokers that run in Python: pika for RabbitMQ, and brokers of others. docs/brokers.md shows how to write one."""

from __future__ import annotations

from umbel.brokers.base import (
    AccessRefused,
    Admin,
    Broker,
    Capability,
    Consumer,
    Control,
    DeadLetter,
    Delivery,
    Doorbell,
    Exchanged,
    Listener,
    MalformedError,
    Message,
    Outgoing,
    PollingDoorbell,
    Publisher,
    Settlement,
    Unavailable,
    Unroutable,
    Waiting,
)
from umbel.brokers.opening import broker_opener

__all__ = [
    "AccessRefused",
    "Admin",
    "Broker",
    "Capability",
    "Consumer",
    "Control",
    "DeadLetter",
    "Delivery",
    "Doorbell",
    "Exchanged",
    "Listener",
    "MalformedError",
    "Message",
    "Outgoing",
    "PollingDoorbell",
    "Publisher",
    "Settlement",
    "Unavailable",
    "Unroutable",
    "Waiting",
    "broker_opener",
]
