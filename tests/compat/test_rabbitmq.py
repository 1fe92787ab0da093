"""Producer x worker, each of them Celery or Umbel, on RabbitMQ: Umbel by itself and through pika, on classic and on
quorum queues, with results by `rpc://` and in Redis."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from apps.compat_tasks import OwnError, define, settings
from servers.celery_command import CELERY, QUIET
from servers.rabbit_server import RabbitServer
from servers.worker_process import WorkerProcess, wait_until

from umbel import Umbel
from umbel.exceptions import ImproperlyConfigured

celery = pytest.importorskip("celery", reason="Celery is needed to test against it")
pytest.importorskip("pika", reason="pika is needed")

PATIENCE = 30.0
NAMES = ("celery", "umbel")


@dataclass
class Fleet:
    """A client and a worker of each kind on one virtual host."""

    clients: dict[str, Any]
    workers: dict[str, WorkerProcess]
    results: str
    vhost: str
    server: RabbitServer

    def send(self, client: str, worker: str, task: str, *args: Any, **options: Any) -> Any:
        """A call for the queue of that worker."""
        return self.clients[client].tasks[f"compat.{task}"].apply_async(args, queue=f"for-{worker}", **options)


#: Umbel's way to the server, the type of queues, and where results go.
FLEETS = list(itertools.product(("native", "pika"), ("classic", "quorum"), ("rpc", "redis")))


@pytest.fixture(scope="module", params=FLEETS, ids="-".join)
def fleet(
    request: pytest.FixtureRequest, rabbit_server: RabbitServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    """Started once for each kind of queue."""
    way, queue_type, results = request.param
    vhost = rabbit_server.new_vhost()
    plain = rabbit_server.url(vhost)
    broker = {"celery": plain, "umbel": plain if way == "native" else plain.replace("amqp://", "amqp+pika://")}
    store = "rpc://" if results == "rpc" else request.getfixturevalue("redis_server").url(2)
    folder = tmp_path_factory.mktemp(f"{way}-{queue_type}")
    arguments = {"celery": QUIET, "umbel": ("-l", "INFO")}
    workers, clients = {}, {}
    for name in NAMES:
        env = {
            "UMBEL_TEST_URL": broker[name],
            "UMBEL_TEST_RESULTS": store,
            "UMBEL_TEST_QUEUE_TYPE": queue_type,
            "PYTHONWARNINGS": "ignore",
        }
        options = ["-c", "2", "-Q", f"for-{name}", "-n", name, *arguments[name]]
        command = [CELERY] if name == "celery" else []
        workers[name] = WorkerProcess(folder, options, env, f"apps.compat_{name}", *command, name=name)
    try:
        for name, kind in (("celery", celery.Celery), ("umbel", Umbel)):
            clients[name] = kind("compat", set_as_current=False)
            clients[name].conf.update(settings(broker[name], store, queue_type))
            define(clients[name], f"{name} client")
            clients[name].finalize()
            workers[name].wait_ready(60)
        yield Fleet(clients, workers, results, vhost, rabbit_server)
        clients["umbel"].close()
    finally:
        for worker in workers.values():
            worker.stop()
        if "celery" in clients:
            close_celery(clients["celery"])
        rabbit_server.drop_vhost(vhost)


def close_celery(app: Any) -> None:
    """With the connections it waits for results on, which it leaves to the garbage collector."""
    consumer = app.backend.result_consumer
    if getattr(consumer, "_consumer", None) or getattr(consumer, "_pubsub", None):
        consumer.stop()
    if hasattr(app.backend, "connection_params"):
        app.backend.client.connection_pool.disconnect()
    app.close()


@pytest.fixture(params=NAMES)
def producer(request: pytest.FixtureRequest) -> str:
    """Each client in turn."""
    name: str = request.param
    return name


@pytest.fixture(params=NAMES)
def worker(request: pytest.FixtureRequest) -> str:
    """Each worker in turn."""
    name: str = request.param
    return name


def test_a_task_and_its_result(fleet: Fleet, producer: str, worker: str) -> None:
    results = [fleet.send(producer, worker, "add", number, 1) for number in range(5)]
    assert [result.get(timeout=PATIENCE) for result in results] == [1, 2, 3, 4, 5]
    ran, own, *_ = fleet.send(producer, worker, "who").get(timeout=PATIENCE)
    assert (ran, own) != (None, None)
    assert ran == worker


def test_values_and_failures(fleet: Fleet, producer: str, worker: str) -> None:
    values = {"text": "é \U0001f600", "big": 2**70, "nested": {"a": [None, True, 1.5]}}
    echo = (
        fleet.clients[producer]
        .tasks["compat.echo"]
        .apply_async((1,), values, queue=f"for-{worker}", compression="zlib")
    )
    assert echo.get(timeout=PATIENCE) == [[1], values]
    with pytest.raises(OwnError) as caught:
        fleet.send(producer, worker, "fail", "own", "broken", 7).get(timeout=PATIENCE)
    assert caught.value.args == ("broken", 7)


def test_retries_and_countdowns(fleet: Fleet, producer: str, worker: str) -> None:
    begun = time.time()
    retried = fleet.send(producer, worker, "retry", 2)
    later = fleet.send(producer, worker, "add", 1, 1, countdown=1)
    assert retried.get(timeout=PATIENCE) == [worker, 2]
    assert later.get(timeout=PATIENCE) == 2
    assert time.time() - begun >= 0.95


def test_states_on_the_way(fleet: Fleet, producer: str, worker: str, tmp_path: Path) -> None:
    if fleet.results == "rpc" and producer == "celery":
        pytest.skip("Celery's client puts a state that it has seen back behind newer ones")
    until = tmp_path / "go"
    result = fleet.send(producer, worker, "progress", str(until))
    wait_until(lambda: result.state == "PROGRESS", PATIENCE, "PROGRESS")
    assert result.info == {"by": worker}
    until.touch()
    assert result.get(timeout=PATIENCE) == worker


def test_a_chain_through_both_workers(fleet: Fleet, producer: str) -> None:
    add, kind = fleet.clients[producer].tasks["compat.add"], celery.chain
    if producer == "umbel":
        from umbel import chain as kind
    steps = [add.s(1, 1).set(queue="for-celery"), add.s(1).set(queue="for-umbel"), add.s(1).set(queue="for-celery")]
    assert kind(*steps).apply_async().get(timeout=PATIENCE) == 4


def test_nothing_is_left_behind(fleet: Fleet) -> None:
    def lengths() -> set[int]:
        queues = fleet.server.queue_lengths(fleet.vhost)
        return {count for name, count in queues.items() if name.startswith("for-")}

    wait_until(lambda: lengths() == {0}, PATIENCE, "empty queues")
    assert "umbel.dead" not in fleet.server.queue_lengths(fleet.vhost)


def test_rpc_counts_no_chords(fleet: Fleet) -> None:
    if fleet.results != "rpc":
        pytest.skip("the store can count")
    from umbel import chord

    add = fleet.clients["umbel"].tasks["compat.add"]
    with pytest.raises(ImproperlyConfigured, match="rpc:// cannot count"):
        chord([add.s(1, 1)], add.s(1)).apply_async()
