"""Signals reach the inbox, and their former owners afterwards."""

from __future__ import annotations

import os
import select
import signal

import pytest

from umbel.worker.signal_inbox import SignalInbox


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs POSIX signals")
def test_signals_are_collected_and_handlers_restored() -> None:
    former = signal.getsignal(signal.SIGHUP), signal.getsignal(signal.SIGINT)
    inbox = SignalInbox()
    inbox.install(["SIGHUP", "SIGINT"])
    try:
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGINT)
        assert select.select([inbox], [], [], 5)[0]
        assert sorted(inbox.take()) == sorted([signal.SIGHUP, signal.SIGINT])
        assert inbox.take() == []
    finally:
        inbox.close()
    assert (signal.getsignal(signal.SIGHUP), signal.getsignal(signal.SIGINT)) == former


def test_posted_from_anywhere() -> None:
    inbox = SignalInbox()
    inbox.post(signal.SIGTERM)
    assert inbox.take() == [signal.SIGTERM]
    inbox.close()
