"""What the core makes of a broker in Python, of what it cannot do and of its errors."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from servers.directory_broker import DirectoryBroker

from umbel import _native
from umbel.brokers import AccessRefused, Message, Outgoing, Publisher, Unavailable, Unroutable
from umbel.exceptions import ImproperlyConfigured, OperationalError

MESSAGE: _native.MessageDict = {"headers": {"id": "1"}, "body": b"[]", "exchange": "", "routing_key": "q"}


def client_of(folder: Path, broker: type[DirectoryBroker] = DirectoryBroker, timeout: float = 10.0) -> _native.Client:
    url = f"directory:DirectoryBroker://user:secret@{folder}"
    options = {"open_broker": lambda: broker(f"directory:DirectoryBroker://{folder}", {}), "publish_timeout": timeout}
    return _native.Client(url, None, options)


def test_a_message_is_what_it_was_made_of() -> None:
    properties = {"correlation_id": "c", "priority": 3, "delivery_tag": "t", "app_id": "a"}
    message = Message({"id": "x", "n": 2**70}, b"\xff", "x/y", "binary", properties, "ex", "key", True, 2)
    again = Message.from_envelope(message.to_envelope("t"))
    for seen in (message, again):
        assert seen.headers["n"] == 2**70
        assert (seen.body, seen.content_type, seen.content_encoding) == (b"\xff", "x/y", "binary")
        assert seen.properties == properties
        assert (seen.exchange, seen.routing_key, seen.priority) == ("ex", "key", 3)
        assert (seen.redelivered, seen.failures) == (True, 2)
    fresh = message.marked(False, 0)
    assert (fresh.redelivered, fresh.failures, fresh.body) == (False, 0, b"\xff")
    assert Message('{"a":1}', b"").headers_text == '{"a":1}'
    with pytest.raises(_native.MalformedError):
        Message.from_envelope(b"[]")


def test_what_the_broker_cannot_do_is_said(tmp_path: Path) -> None:
    client = client_of(tmp_path)
    with pytest.raises(_native.ConfigError, match="unique"):
        client.publish_once(MESSAGE, "lock", "owner", 10.0, False)
    with pytest.raises(_native.ConfigError, match="speak to workers"):
        client.broadcast("celery.pidbox", "{}", ("application/json", "utf-8", b"{}"))
    with pytest.raises(_native.ConfigError, match="exchanges"):
        client.bind("q", "named", "key", "topic")


def test_what_is_revoked_is_remembered_here(tmp_path: Path) -> None:
    client = client_of(tmp_path)
    client.revoke(["a", "b"], [("header", "value")], 4e9)
    assert client.revoked() == ["a", "b"]
    assert client_of(tmp_path).revoked() == [], "as in Celery, others must have heard of it"


class Failing(Publisher):
    """Raises what it is told to."""

    error: BaseException
    calls = 0

    def publish(self, batch: Sequence[Outgoing]) -> None:
        type(self).calls += 1
        raise self.error


@pytest.mark.parametrize(
    ("error", "raised", "text"),
    [
        (OperationalError("gone, amqp://u:secret@h"), _native.ConnectionLostError, "gone"),
        (Unavailable("full"), _native.UnavailableError, "full"),
        (AccessRefused("who?"), _native.AccessError, "who"),
        (Unroutable("x", "k"), _native.UnroutableError, "'x'.*'k'|\"x\".*\"k\""),
        (ImproperlyConfigured("no"), _native.ConfigError, "broker_url: no"),
        (ImportError("driver"), _native.ConfigError, "driver"),
        (KeyError("oops"), _native.ProtocolError, "KeyError"),
    ],
)
def test_errors_are_what_they_mean(tmp_path: Path, error: Exception, raised: Any, text: str) -> None:
    publisher = type("Fails", (Failing,), {"error": error})
    broker = type("Broken", (DirectoryBroker,), {"publisher": lambda self: publisher()})
    with pytest.raises(raised, match=text) as caught:
        client_of(tmp_path, broker, timeout=0.0).publish([MESSAGE], patience=0.0)
    assert "secret" not in str(caught.value)


def test_a_connection_that_is_lost_is_opened_anew(tmp_path: Path) -> None:
    opened: list[object] = []

    class Flaky(DirectoryBroker):
        def publisher(self) -> Publisher:
            opened.append(self)
            failing = type("Fails", (Failing,), {"error": OperationalError("gone")})
            return failing() if len(opened) == 1 else super().publisher()

    client = client_of(tmp_path, Flaky)
    client.publish([MESSAGE])
    assert (len(opened), client.queue_length("q")) == (2, 1)


def test_a_call_that_waits_holds_nobody_up(tmp_path: Path) -> None:
    entered, released = threading.Event(), threading.Event()

    class Slow(Publisher):
        def publish(self, batch: Sequence[Outgoing]) -> None:
            entered.set()
            assert released.wait(10)

    client = client_of(tmp_path, type("Waiting", (DirectoryBroker,), {"publisher": lambda self: Slow()}))
    thread = threading.Thread(target=client.publish, args=([MESSAGE],))
    thread.start()
    assert entered.wait(10)
    assert client.queue_length("q") == 0, "another handle works meanwhile"
    released.set()
    thread.join(10)
    assert not thread.is_alive()


def test_a_capability_that_is_none_is_named(tmp_path: Path) -> None:
    broker = type("Boasting", (DirectoryBroker,), {"capabilities": ("flying",)})
    with pytest.raises(_native.ConfigError, match=r"flying.*there are atomic"):
        client_of(tmp_path, broker)
