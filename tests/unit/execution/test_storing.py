"""Outcomes whose record the child stores itself."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from umbel import _native
from umbel.execution.storing import LaterLink, StoringLink


class Client:
    """Raises what it is told to, then stores."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.stored: list[tuple[Any, ...]] = []

    def store_result(self, *arguments: Any) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.stored.append(arguments)


class Link:
    """Keeps what is reported."""

    def __init__(self) -> None:
        self.finished: list[tuple[Any, ...]] = []

    def finish(self, *arguments: Any, **more: Any) -> None:
        self.finished.append((*arguments, more["kind"]))


class Job:
    """A job."""

    id = "i"


def made(client: Client, patience: float = 60.0) -> tuple[Any, Link]:
    link = Link()
    either: Any = (link, client)
    return StoringLink(*either, patience=patience), link


def test_the_record_is_stored_before_the_outcome_is_reported() -> None:
    client = Client(_native.ConnectionLostError("gone"), _native.UnavailableError("busy"))
    storing, link = made(client)
    storing.finish(Job, "SUCCESS", "ack", b"record", 9.0, ["message"])
    assert client.stored == [("i", "SUCCESS", b"record", 9.0)]
    assert link.finished == [(Job, "SUCCESS", "ack", None, None, ["message"], "", "rejected")]
    storing.started(Job, b"progress", None, "PROGRESS")
    assert client.stored[1:] == [("i", "PROGRESS", b"progress", None)]


@pytest.mark.parametrize("error", [_native.ProtocolError("too large"), _native.ConnectionLostError("gone")])
def test_what_cannot_be_stored_is_reported_without_its_record(error: Exception) -> None:
    client = Client(error)
    storing, link = made(client, patience=0)
    with pytest.raises(_native.NativeError):
        storing.finish(Job, "SUCCESS", "ack", b"record", None)
    assert link.finished == []
    storing.finish(Job, "FAILURE", "reject", b"another", None, (), "why", kind="internal-error")
    assert client.stored == []
    assert link.finished == [(Job, "FAILURE", "reject", None, None, (), "why", "internal-error")]


def test_on_an_event_loop_a_thread_stores_and_reports() -> None:
    client, link = Client(_native.UnavailableError("busy")), Link()
    either: Any = (link, client)
    with ThreadPoolExecutor(1) as thread:
        later: Any = LaterLink(*either, thread)

        async def run() -> None:
            later.started(Job, b"progress", None, "PROGRESS")
            later.finish(Job, "SUCCESS", "ack", b"record", 9.0)
            await later.settled()

        asyncio.run(run())
        assert [one[1:3] for one in client.stored] == [("PROGRESS", b"progress"), ("SUCCESS", b"record")]
        assert link.finished == [(Job, "SUCCESS", "ack", None, None, (), "", "rejected")]
        client.errors = [_native.ProtocolError("too large")] * 2
        later.started(Job, b"progress", None, "PROGRESS")
        later.finish(Job, "SUCCESS", "ack", b"record", 9.0)
        asyncio.run(later.settled())
        assert link.finished[1][1:3] == ("FAILURE", "reject")
        assert "cannot be stored: too large" in link.finished[1][6]
