"""Signal handlers run while the extension waits."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from task_messages import message

from umbel._native import ChildLink, Client, Worker


@contextmanager
def signal_soon(number: int) -> Iterator[None]:
    """Sends the main thread a signal after 50 ms."""
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(0.05, signal.pthread_kill, (main, number))
    timer.start()
    try:
        yield
    finally:
        timer.join()


def interrupted(call: Callable[[], object]) -> float:
    """Seconds until Ctrl-C ended the call."""
    started = time.monotonic()
    with signal_soon(signal.SIGINT), pytest.raises(KeyboardInterrupt):
        call()
    return time.monotonic() - started


def test_ctrl_c_ends_a_wait_for_a_result() -> None:
    client = Client("memory://signals", "memory://signals", {})
    assert interrupted(lambda: client.wait_result("never", None, None)) < 2
    assert interrupted(lambda: client.wait_result("never", None, 30)) < 2
    client.store_result("never", "SUCCESS", b"1", None)
    assert client.wait_result("never", None, 5) == b"1"


def test_ctrl_c_ends_a_publish_to_a_broker_out_of_reach(free_port: int) -> None:
    client = Client(f"redis://127.0.0.1:{free_port}/0", None, {"publish_timeout": None})
    assert interrupted(lambda: client.publish([message("a")])) < 3


def test_what_a_handler_raises_comes_out_of_the_call() -> None:
    class Alarm(Exception):
        pass

    def ring(*_: object) -> None:
        raise Alarm

    client = Client("memory://signals", "memory://signals", {})
    former = signal.signal(signal.SIGUSR2, ring)
    try:
        with signal_soon(signal.SIGUSR2), pytest.raises(Alarm):
            client.wait_result("never again", None, 30)
    finally:
        signal.signal(signal.SIGUSR2, former)


def test_a_handler_that_returns_interrupts_nothing() -> None:
    ran = threading.Event()
    former = signal.signal(signal.SIGUSR2, lambda *_: ran.set())
    client = Client("memory://signals", "memory://signals", {})
    try:
        with signal_soon(signal.SIGUSR2):
            assert client.wait_result("never stored", None, 0.4) is None
    finally:
        signal.signal(signal.SIGUSR2, former)
    assert ran.is_set()


def test_ctrl_c_ends_an_idle_childs_wait_for_jobs() -> None:
    ours, theirs = socket.socketpair()
    link = ChildLink(theirs.detach())
    assert interrupted(link.next) < 2
    assert not link.stopped
    ours.close()
    assert link.next() is None
    assert link.stopped


def test_a_closed_descriptor_is_refused() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        ChildLink(theirs.detach() if theirs.fileno() >= 0 else 9999)
    with pytest.raises(ValueError, match="descriptor"):
        ChildLink(-1)
    with pytest.raises(OSError, match="Bad file descriptor"):
        Worker("memory://signals", None, {}).add_child(1, 9999, None, 1)
    ours.close()
