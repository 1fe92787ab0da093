"""RabbitMQ through pika on a bad day: what breaks is said, and nothing that was confirmed is lost."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from types import SimpleNamespace
from typing import cast

import pytest
from servers.proxy import SlowProxy
from servers.rabbit_server import RabbitServer
from servers.worker_process import wait_until

pytest.importorskip("pika", reason="pika is needed")

from umbel import _native
from umbel.brokers import AccessRefused, Broker, Consumer, Delivery, Message, Settlement, Unroutable
from umbel.brokers.pika import PikaBroker
from umbel.brokers.pika.consuming import Tap
from umbel.exceptions import OperationalError

PATIENCE = 20.0


def broker_at(url: str, **settings: object) -> Broker:
    return PikaBroker(url.replace("amqp://", "amqp+pika://"), settings)


@contextmanager
def client_of(broker: Broker) -> Iterator[_native.Client]:
    """Publishes the way applications do."""
    client = _native.Client("amqp+pika://", None, {"open_broker": lambda: broker, "publish_timeout": PATIENCE})
    try:
        yield client
    finally:
        client.close()


def task(number: int, exchange: str = "", routing_key: str = "q") -> _native.MessageDict:
    headers = {"id": str(number), "task": "t"}
    return {"headers": headers, "body": b"[]", "exchange": exchange, "routing_key": routing_key}


def ids(deliveries: Sequence[Delivery]) -> list[str]:
    found = []
    for delivery in deliveries:
        assert isinstance(delivery.payload, Message)
        found.append(delivery.payload.headers["id"])
    return found


def beat(consumer: Consumer) -> None:
    """Heartbeats until one fails."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        consumer.heartbeat()


def test_a_connection_that_breaks_gives_everything_back(rabbit_server: RabbitServer, rabbit_url: str) -> None:
    with closing(SlowProxy(rabbit_server.port)) as proxy:
        broker = broker_at(rabbit_url.replace(f":{rabbit_server.port}", f":{proxy.port}"))
        with client_of(broker) as client:
            client.publish([task(number) for number in range(5)])
            consumer = broker.consumer("w", ["q"], 8.0)
            taken = consumer.fetch(3)
            assert ids(taken) == ["0", "1", "2"]
            proxy.cut()
            with pytest.raises(OperationalError):
                beat(consumer)
            assert consumer.recover([delivery.tag for delivery in taken]) == [delivery.tag for delivery in taken]
            client.publish([task(5)])
            again = consumer.fetch(10)
            assert sorted(ids(again)) == ["0", "1", "2", "3", "4", "5"]
            assert sum(isinstance(one.payload, Message) and one.payload.redelivered for one in again) == 3
            consumer.close()


def test_a_queue_that_is_deleted_is_made_again(rabbit_server: RabbitServer, rabbit_url: str) -> None:
    broker = broker_at(rabbit_url)
    with client_of(broker) as client:
        client.publish([task(1)])
        consumer = broker.consumer("w", ["q"], 8.0)
        assert ids(consumer.fetch(1)) == ["1"]
        vhost = rabbit_url.rpartition("/")[2]
        name = f'rabbit_misc:r(<<"{vhost}">>, queue, <<"q">>)'
        rabbit_server.evaluate(
            f'begin {{ok, Q}} = rabbit_amqqueue:lookup({name}), rabbit_amqqueue:delete(Q, false, false, <<"t">>) end'
        )
        reader, writer = os.pipe()
        try:
            consumer.wait(0.2, reader)
            assert consumer.fetch(5) == []
            client.close()
            client.publish([task(2)])
            assert consumer.wait(PATIENCE, reader)
            assert ids(consumer.fetch(5)) == ["2"]
        finally:
            os.close(reader)
            os.close(writer)
        consumer.close()


def test_a_wait_ends_for_a_message_and_for_the_waker(rabbit_url: str) -> None:
    broker = broker_at(rabbit_url)
    consumer = broker.consumer("w", ["q", "r"], 8.0)
    reader, writer = os.pipe()
    try:
        assert not consumer.wait(0.01, reader)
        threading.Timer(0.05, os.write, (writer, b"!")).start()
        begun = time.monotonic()
        assert not consumer.wait(PATIENCE, reader)
        assert time.monotonic() - begun < PATIENCE / 2
        os.read(reader, 1)
        with client_of(broker) as client:
            threading.Timer(0.05, client.publish, ([task(7, routing_key="r")],)).start()
            assert consumer.wait(PATIENCE, reader)
            assert ids(consumer.fetch(3)) == ["7"]
            assert not consumer.wait(0.01, reader)
            assert client.queue_length("r") == 0
    finally:
        os.close(reader)
        os.close(writer)
        consumer.close()


def test_the_end_of_a_message_that_came_before_a_wait_does_not_end_the_wait(
    rabbit_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = broker_at(rabbit_url)
    opened: list[int] = []
    whole = Tap.open
    monkeypatch.setattr(Tap, "open", lambda tap, count: (opened.append(count), whole(tap, count))[1])
    reader, writer = os.pipe()
    consumer = broker.consumer("w", ["q"], 8.0)
    try:
        with client_of(broker) as client:
            client.publish([task(0)])
            held = consumer.fetch(8)
            assert not consumer.wait(0.01, reader), "the queue is empty"
            opened.clear()
            for number in range(1, 4):
                ends = [SimpleNamespace(tag=delivery.tag, action="ack", publish=[]) for delivery in held]
                assert consumer.exchange(cast(Sequence[Settlement], ends), 8).deliveries == []
                client.publish([task(number)])
                assert consumer.wait(PATIENCE, reader)
                held = consumer.fetch(8)
                assert ids(held) == [str(number)]
        assert opened == []
    finally:
        os.close(reader)
        os.close(writer)
        consumer.close()


def refusal(client: _native.Client) -> str:
    """Why it cannot publish; empty if it can."""
    try:
        client.publish([task(2)], 0.2)
    except _native.UnavailableError as error:
        return str(error)
    return ""


def test_a_server_that_is_short_of_memory_takes_nothing_and_says_so(
    rabbit_server: RabbitServer, rabbit_url: str
) -> None:
    broker = broker_at(rabbit_url)
    alarm = "{resource_limit, memory, node()}"
    with client_of(broker) as client:
        client.publish([task(1)])
        rabbit_server.evaluate(f"rabbit_alarm:set_alarm({{{alarm}, []}})")
        try:
            # The server tells of the alarm when it comes to it.
            wait_until(lambda: "short of memory" in refusal(client), PATIENCE, "the refusal")
        finally:
            rabbit_server.evaluate(f"rabbit_alarm:clear_alarm({alarm})")
        client.publish([task(3)])
        consumer = broker.consumer("w", ["q"], 8.0)
        assert {"1", "3"} <= set(ids(consumer.fetch(1000)))
        consumer.close()


def test_what_exists_otherwise_is_used_as_it_is(rabbit_url: str, caplog: pytest.LogCaptureFixture) -> None:
    with client_of(broker_at(rabbit_url, task_queue_max_priority=5)) as client:
        client.publish([task(1)])
    with caplog.at_level(logging.WARNING, "umbel.brokers.pika"), client_of(broker_at(rabbit_url)) as client:
        client.publish([task(2)])
        assert client.queue_length("q") == 2
    assert "used as it is" in caplog.text


def test_an_exchange_that_is_not_there_is_unroutable(rabbit_url: str) -> None:
    with client_of(broker_at(rabbit_url)) as client:
        for _ in range(2):
            with pytest.raises(_native.UnroutableError, match="nowhere"):
                client.publish([task(1), task(2, "nowhere", "key")])
        client.publish([task(3)])


def test_a_wrong_password_is_refused_and_not_shown(rabbit_url: str) -> None:
    wrong = rabbit_url.replace("guest:guest@", "guest:not-it@")
    with pytest.raises(AccessRefused) as caught:
        broker_at(wrong).publisher()
    assert "not-it" not in str(caught.value)
    with client_of(broker_at(wrong)) as client, pytest.raises(_native.AccessError):
        client.publish([task(1)])


def test_the_next_server_is_tried(rabbit_url: str) -> None:
    with client_of(broker_at(f"amqp://127.0.0.1:1/;{rabbit_url}")) as client:
        client.publish([task(1)])
        assert client.queue_length("q") == 1
    with pytest.raises(OperationalError):
        broker_at("amqp://127.0.0.1:1/").publisher()


def test_a_follow_up_that_nobody_takes_leaves_its_task_held(rabbit_url: str) -> None:
    broker = broker_at(rabbit_url)
    with client_of(broker) as client:
        client.publish([task(1)])
        consumer = broker.consumer("w", ["q"], 8.0)
        (taken,) = consumer.fetch(1)
        follow_up = SimpleNamespace(exchange="nowhere", routing_key="k", message=Message({"id": "f"}, b"[]"), eta=None)
        settlement = SimpleNamespace(tag=taken.tag, action="ack", publish=[follow_up])
        with pytest.raises(Unroutable):
            consumer.settle([cast(Settlement, settlement)])
        settlement.publish = []
        assert consumer.settle([cast(Settlement, settlement)]) == []
        consumer.close()
        assert client.queue_length("q") == 0
