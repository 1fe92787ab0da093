"""Messages as AMQP has them, without a server."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pytest

pika = pytest.importorskip("pika", reason="pika is needed")

from umbel.brokers import Message  # noqa: E402
from umbel.brokers.opening import broker_opener  # noqa: E402
from umbel.brokers.pika.content import from_amqp, to_amqp  # noqa: E402
from umbel.brokers.pika.link import connection_parameters  # noqa: E402
from umbel.brokers.pika.topology import steps_of  # noqa: E402
from umbel.exceptions import ImproperlyConfigured  # noqa: E402


def there_and_back(message: Message) -> Message:
    properties, body = to_amqp(message)
    wire = b"".join(properties.encode())
    read = pika.BasicProperties()
    read.decode(wire)
    return from_amqp(read, body, "", "q")


def test_a_message_survives() -> None:
    headers = {"id": "x", "timelimit": [None, 1.5], "n": -(2**40), "flag": True, "none": None, "deep": {"a": [{}]}}
    properties = {
        "correlation_id": "c",
        "reply_to": "r",
        "priority": 7,
        "expiration": "60",
        "message_id": "m",
        "odd": {"a": [1]},
    }
    message = Message(headers, b"\xff", "x/y", "binary", properties, "", "q", True, 3)
    seen = there_and_back(message)
    assert seen.headers == headers
    assert seen.properties == properties
    assert (seen.body, seen.content_type, seen.content_encoding) == (b"\xff", "x/y", "binary")
    assert (seen.redelivered, seen.failures) == (True, 3)


def test_what_others_write_into_headers_is_read() -> None:
    now = datetime.datetime(2030, 1, 2, 3, 4, 5)
    table: dict[str, Any] = {"when": now, "much": Decimal("1.5"), "raw": b"\xff", "x-death": [{"count": 1}]}
    seen = from_amqp(pika.BasicProperties(headers=table), b"", "e", "k", True)
    assert seen.headers == {"when": "2030-01-02T03:04:05", "much": "1.5", "raw": "\\xff"}
    assert (seen.exchange, seen.routing_key, seen.redelivered) == ("e", "k", True)


@pytest.mark.parametrize(
    ("headers", "text"),
    [({"a": {"b": [2**64]}}, "64 bits"), ({"k" * 300: 1}, "255 bytes"), ({"a": "x" * 200_000}, "120000")],
)
def test_what_amqp_cannot_carry_is_refused(headers: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        to_amqp(Message(headers, b""))


@pytest.mark.parametrize(
    ("url", "host", "port", "vhost", "user", "password"),
    [
        ("amqp+pika://", "localhost", 5672, "/", "guest", "guest"),
        ("amqp+pika://h:1/v%2fw", "h", 1, "v/w", "guest", "guest"),
        ("amqp+pika://u:p%40@h//", "h", 5672, "/", "u", "p@"),
        ("amqps+pika://h/x", "h", 5671, "x", "guest", "guest"),
    ],
)
def test_urls(url: str, host: str, port: int, vhost: str, user: str, password: str) -> None:
    (found,) = connection_parameters(url, {}, 7)
    assert (found.host, found.port, found.virtual_host, found.heartbeat) == (host, port, vhost, 7)
    assert (found.credentials.username, found.credentials.password) == (user, password)
    assert (found.ssl_options is not None) == url.startswith("amqps")


def test_several_servers_and_another_way_to_log_in() -> None:
    found = connection_parameters("amqp+pika://a;amqp+pika://b:7", {"broker_login_method": "external"}, 0)
    assert [(one.host, one.port) for one in found] == [("a", 5672), ("b", 7)]
    assert isinstance(found[0].credentials, pika.credentials.ExternalCredentials)
    with pytest.raises(ImproperlyConfigured, match="amqp\\+pika"):
        connection_parameters("amqp+pika://h:port/", {}, 0)


def test_an_identity_names_the_servers() -> None:
    opened = broker_opener("amqp+pika://u:secret@h:5672/v;amqp+pika://u:secret@i/v", dict)
    assert opened is not None
    assert opened().identity() == "h:5672/v;i:/v"


def test_delays_are_cut_to_lengths_that_there_are_few_of() -> None:
    assert [steps_of(time) for time in (0, 99, 100, 1234, 10_000)] == [0, 0, 100, 1200, 10_000]
    assert [steps_of(time) for time in (10_001, 61_999, 600_001, 7_265_432)] == [10_000, 61_000, 600_000, 7_200_000]
    assert steps_of(10**12) == 2_000_000_000
    every = {steps_of(time) for time in range(0, 100_000_000, 997)}
    assert len(every) < 1000
    assert all(0 <= time - steps_of(time) <= max(100, time / 10) for time in range(0, 10_000_000, 997))
