"""A client whose Redis goes away and comes back."""

from __future__ import annotations

import select
import shutil
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from servers.redis_server import RedisServer, require_redis

from umbel._native import Client, ConnectionLostError

if TYPE_CHECKING:
    from umbel._native import MessageDict


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """One that the test may stop."""
    require_redis()
    folder = Path(tempfile.mkdtemp(prefix="umbel-redis-"))
    server = RedisServer(folder)
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


def message(task_id: str) -> MessageDict:
    return {
        "headers": {"task": "proj.add", "id": task_id},
        "body": b"[[], {}, {}]",
        "exchange": "",
        "routing_key": "celery",
    }


def test_calls_made_while_it_is_away_succeed_once_it_is_back(own_redis: RedisServer) -> None:
    client = Client(own_redis.url(), own_redis.url(1), {"publish_timeout": 30})
    client.publish([message("before")])
    with ThreadPoolExecutor(8) as pool:
        waiting = pool.submit(client.wait_result, "a", None, 30)
        client.watch("b")
        own_redis.stop()
        with pytest.raises(ConnectionLostError):
            client.publish([message("too late")], 0.2)
        sending = [pool.submit(client.publish, [message(str(number))]) for number in range(5)]
        own_redis.start()
        for sent in sending:
            sent.result(30)
        client.store_result("a", "SUCCESS", b"1", 60)
        client.store_result("b", "SUCCESS", b"2", 60)
        assert waiting.result(30) == b"1"
    drained: list[tuple[str, bytes]] = []
    while not drained:
        assert select.select([client.fileno()], [], [], 10)[0], "the watched record did not come"
        drained = client.drain()
    assert drained == [("b", b"2")]
    assert client.queue_length("celery") == 6
    client.close()


def test_threads_that_publish_through_a_restart_lose_nothing(own_redis: RedisServer) -> None:
    client = Client(own_redis.url(), None, {"publish_timeout": 30})
    started = threading.Barrier(5)

    def publish(thread: int) -> None:
        started.wait()
        for number in range(200):
            client.publish([message(f"{thread}-{number}")])

    with ThreadPoolExecutor(4) as pool:
        publishing = [pool.submit(publish, thread) for thread in range(4)]
        started.wait()
        own_redis.stop()
        own_redis.start()
        for published in publishing:
            published.result(60)
    # A reply lost on the way is an error of unknown outcome, which is answered by sending again.
    assert client.queue_length("celery") >= 800
    client.close()
