"""`Client`: publishing, results, queues and dead letters, on the stores that need no server."""

from __future__ import annotations

import asyncio
import contextlib
import select
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from task_messages import message, wait_until

from umbel._native import (
    AccessError,
    Client,
    ConfigError,
    ConnectionLostError,
    ForkedError,
    MalformedError,
    NativeError,
    ProtocolError,
    UnavailableError,
    UnroutableError,
)


def test_what_is_published_is_in_the_queue(client: Client) -> None:
    client.publish([message("a"), message("b"), message("c", "other")])
    assert client.queue_length("celery") == 2
    assert client.queue_length("other") == 1
    assert client.purge("celery") == 2
    assert client.queue_length("celery") == 0


def test_threads_share_the_connection(client: Client) -> None:
    def publish(thread: int) -> None:
        for number in range(25):
            client.publish([message(f"{thread}-{number}")])

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.queue_length("celery") == 200


@pytest.mark.parametrize("missing", ["headers", "body", "exchange", "routing_key"])
def test_an_incomplete_message_is_refused(client: Client, missing: str) -> None:
    incomplete: Any = message("a")
    del incomplete[missing]
    with pytest.raises(KeyError, match=missing):
        client.publish([message("b"), incomplete])
    assert client.queue_length("celery") == 0


@pytest.mark.parametrize(
    "wrong",
    [{"headers": [1]}, {"body": "text"}, {"routing_key": 5}, {"properties": {"priority": "high"}}, {"eta": "x"}],
)
def test_a_wrong_type_is_a_type_error(client: Client, wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        client.publish([{**message("a"), **wrong}])  # type: ignore[typeddict-item]


def test_a_binding_routes(client: Client) -> None:
    client.bind("errors", "logs", "*.error", "topic")
    client.publish([{**message("a"), "exchange": "logs", "routing_key": "db.error"}])
    assert client.queue_length("errors") == 1
    with pytest.raises(ValueError, match="expected direct, topic or fanout"):
        client.bind("errors", "logs", "x", "headers")  # type: ignore[arg-type]


def test_results_are_stored_read_and_forgotten(client: Client) -> None:
    client.store_result("a", "STARTED", b"1", None)
    client.store_result("b", "SUCCESS", b"2", 60)
    assert client.read_results(["a", "b", "c"]) == [b"1", b"2", None]
    assert client.forget_results(["a", "c"]) == 1
    assert client.read_results(["a", "b"]) == [None, b"2"]
    assert client.remove_expired_results() == 0


def test_waiting_ends_with_the_first_new_record(client: Client) -> None:
    client.store_result("a", "STARTED", b"1", None)
    assert client.wait_result("a", None, 5) == b"1"
    writer = threading.Timer(0.05, client.store_result, ("a", "SUCCESS", b"2", None))
    writer.start()
    assert client.wait_result("a", b"1", 5) == b"2"
    writer.join()


def test_waiting_ends_at_the_timeout(client: Client) -> None:
    started = time.monotonic()
    assert client.wait_result("never", None, 0.15) is None
    assert 0.1 < time.monotonic() - started < 2
    with pytest.raises(ValueError, match="NaN"):
        client.wait_result("never", None, float("nan"))


def test_many_waits_share_one_listener(client: Client) -> None:
    before = threading.active_count()
    records: dict[str, bytes | None] = {}

    def wait(task_id: str) -> None:
        records[task_id] = client.wait_result(task_id, None, 10)

    ids = [f"task-{number}" for number in range(20)]
    waiting = [threading.Thread(target=wait, args=(task_id,)) for task_id in ids * 2]
    for thread in waiting:
        thread.start()
    for task_id in ids:
        client.store_result(task_id, "SUCCESS", task_id.encode(), None)
    for thread in waiting:
        thread.join()
    assert records == {task_id: task_id.encode() for task_id in ids}
    assert threading.active_count() == before


def test_watched_ids_are_drained(client: Client) -> None:
    client.store_result("old", "SUCCESS", b"0", None)
    for task_id in ("old", "new", "dropped"):
        client.watch(task_id)
    client.unwatch("dropped")
    client.store_result("new", "SUCCESS", b"1", None)
    client.store_result("dropped", "SUCCESS", b"2", None)
    drained: dict[str, bytes] = {}
    while len(drained) < 2:
        assert select.select([client.fileno()], [], [], 5)[0], "nothing came"
        drained.update(client.drain())
    assert drained == {"old": b"0", "new": b"1"}
    assert client.drain() == []
    assert not select.select([client.fileno()], [], [], 0)[0]


def test_an_event_loop_can_wait(client: Client) -> None:
    async def first_record() -> tuple[str, bytes]:
        loop = asyncio.get_running_loop()
        came: asyncio.Future[tuple[str, bytes]] = loop.create_future()
        loop.add_reader(client.fileno(), lambda: [came.done() or came.set_result(item) for item in client.drain()])
        client.watch("a")
        await loop.run_in_executor(None, client.store_result, "a", "SUCCESS", b"1", None)
        try:
            return await asyncio.wait_for(came, 5)
        finally:
            loop.remove_reader(client.fileno())

    assert asyncio.run(first_record()) == ("a", b"1")


def test_a_closed_client_connects_anew(client: Client) -> None:
    client.publish([message("a")])
    client.wait_result("a", None, 0)
    client.close()
    client.close()
    client.publish([message("b")])
    client.store_result("a", "SUCCESS", b"1", None)
    assert client.wait_result("a", None, 5) == b"1"
    assert client.queue_length("celery") == 2


def test_without_a_result_store_results_are_an_error_that_says_so(store_url: str) -> None:
    client = Client(store_url, None, {})
    assert client.result_url is None
    client.publish([message("a")])
    for call in (
        lambda: client.wait_result("a", None, 0),
        lambda: client.read_results(["a"]),
        lambda: client.store_result("a", "SUCCESS", b"", None),
        client.drain,
    ):
        with pytest.raises(ConfigError, match="result_backend: results are not stored"):
            call()


def test_there_are_no_dead_letters_at_first(client: Client) -> None:
    assert client.dead_letters() == []
    assert client.dead_letter("none") is None
    assert client.dead_replay(["none"]) == 0
    assert client.dead_purge(None) == 0


@pytest.mark.parametrize("url", ["", "celery", "qpid://user:secret@host//", "foo://user:secret@host"])
def test_a_url_nobody_knows_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError, match="broker_url") as caught:
        Client(url, None, {})
    assert "secret" not in str(caught.value)


def test_urls_are_shown_without_password() -> None:
    client = Client("redis://user:secret@localhost:1/0", "rediss://:secret@localhost:1/1", {})
    shown = f"{client!r} {client.broker_url} {client.result_url}"
    assert "secret" not in shown
    assert "localhost:1/1" in shown


def test_a_broker_out_of_reach_is_an_error_in_time(free_port: int) -> None:
    client = Client(f"redis://127.0.0.1:{free_port}/0", None, {"publish_timeout": 0.3})
    for call in (lambda: client.publish([message("a")]), client.ping, lambda: client.publish([message("a")], 0.2)):
        started = time.monotonic()
        with pytest.raises(ConnectionLostError, match=f"127.0.0.1:{free_port}"):
            call()
        assert time.monotonic() - started < 3


def test_a_result_store_out_of_reach_is_an_error_in_time(free_port: int) -> None:
    client = Client("memory://reach", f"redis://127.0.0.1:{free_port}/0", {"publish_timeout": 0.3})
    with pytest.raises(ConnectionLostError):
        client.read_results(["a"])
    with pytest.raises(ConnectionLostError):
        client.wait_result("a", None, 0.3)
    client.watch("a")
    assert client.drain() == [], "a short absence is borne"


@pytest.mark.parametrize("options", [{"publish_timeout": "soon"}, {"broker_transport_options": 5}])
def test_a_wrong_option_is_refused(options: dict[str, object]) -> None:
    with pytest.raises((ConfigError, TypeError)):
        Client("memory://", None, options)


def test_the_tree_of_errors() -> None:
    for error in (
        ConnectionLostError, UnavailableError, AccessError, UnroutableError, ConfigError, ProtocolError, MalformedError,
    ):  # fmt: skip
        assert issubclass(error, NativeError)
        assert error.__module__ == "umbel._native"
    assert issubclass(ForkedError, RuntimeError)


def listeners() -> Iterator[str]:
    """Ids of the threads that listen for results."""
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # ended meanwhile
            if (thread / "comm").read_text().startswith("umbel-results"):
                yield thread.name


def test_a_dropped_client_leaves_no_thread(store_url: str) -> None:
    before = set(listeners())
    client = Client(store_url, store_url, {})
    client.wait_result("a", None, 0)
    wait_until(lambda: not set(listeners()) <= before)
    del client
    wait_until(lambda: set(listeners()) <= before)
