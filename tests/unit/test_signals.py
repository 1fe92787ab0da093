"""Signals."""

from __future__ import annotations

import gc
import logging
from typing import Any

import pytest

from umbel import signals
from umbel.signals import Signal

celery_signals = pytest.importorskip("celery.signals", reason="the peer of the comparison")


def test_every_signal_of_celery_is_there() -> None:
    assert set(celery_signals.__all__) <= set(signals.__all__)


@pytest.fixture
def signal() -> Signal:
    return Signal("test")


def test_connect_in_all_forms(signal: Signal) -> None:
    @signal.connect
    def plain(**_: Any) -> str:
        return "plain"

    @signal.connect(sender="me")
    def mine(**_: Any) -> str:
        return "mine"

    def later(**_: Any) -> str:
        return "later"

    signal.connect(later, sender="me")
    assert [answer for _, answer in signal.send("me")] == ["plain", "mine", "later"]
    assert [answer for _, answer in signal.send("you")] == ["plain"]


def test_receivers_get_sender_signal_and_arguments(signal: Signal) -> None:
    seen: list[dict[str, Any]] = []
    receiver = signal.connect(lambda **named: seen.append(named))
    signal.send("me", x=1)
    assert seen == [{"sender": "me", "signal": signal, "x": 1}]
    assert receiver is not None


def test_weak_receivers_go_away(signal: Signal) -> None:
    signal.connect(lambda **_: None)
    gc.collect()
    assert not signal.receivers
    signal.connect(lambda **_: "kept", weak=False)
    gc.collect()
    assert [answer for _, answer in signal.send(None)] == ["kept"]


def test_methods_go_with_their_object(signal: Signal) -> None:
    class Listener:
        def hear(self, **_: Any) -> str:
            return "heard"

    listener = Listener()
    signal.connect(listener.hear)
    assert [answer for _, answer in signal.send(None)] == ["heard"]
    del listener
    gc.collect()
    assert signal.send(None) == []


def test_the_same_receiver_is_connected_once(signal: Signal) -> None:
    def receiver(**_: Any) -> None: ...

    def other(**_: Any) -> None: ...

    signal.connect(receiver)
    signal.connect(receiver)
    assert len(signal.receivers) == 1
    signal.connect(other, dispatch_uid="x")
    signal.connect(receiver, dispatch_uid="x")
    assert len(signal.receivers) == 2


def test_disconnect(signal: Signal) -> None:
    def receiver(**_: Any) -> None: ...

    signal.connect(receiver, sender="me")
    assert signal.has_listeners("me")
    assert not signal.has_listeners("you")
    assert not signal.disconnect(receiver)
    assert signal.disconnect(receiver, sender="me")
    assert not signal.has_listeners("me")
    signal.connect(receiver, dispatch_uid="x")
    assert signal.disconnect(dispatch_uid="x")


def test_an_error_goes_no_further(signal: Signal, caplog: pytest.LogCaptureFixture) -> None:
    error = ValueError("broken receiver")

    @signal.connect
    def broken(**_: Any) -> None:
        raise error

    @signal.connect
    def fine(**_: Any) -> str:
        return "fine"

    with caplog.at_level(logging.ERROR):
        assert [answer for _, answer in signal.send(None)] == [error, "fine"]
    assert "broken receiver" in caplog.text
