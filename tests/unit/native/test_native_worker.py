"""`Worker`, `ChildLink` and `Job`: a task's way through the extension, the child a thread of this process."""

from __future__ import annotations

import json
import select
import socket
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from task_messages import message, wait_until

from umbel._native import ChildLink, Client, ConfigError, Job, MalformedError, Worker, json_dumps

Events = list[tuple[Any, ...]]


class Bench:
    """A worker with one child, whose end the test holds."""

    def __init__(self, url: str, **options: object) -> None:
        self.client = Client(url, url, {})
        self.worker = Worker(url, url, {"queues": ["celery"], **options})
        self.worker.set_tasks([{"name": "proj.add"}])
        self.worker.set_pool_size(1)
        self.worker.want_notices(True)
        self.worker.start()
        ours, theirs = socket.socketpair()
        self.link = ChildLink(theirs.detach())
        self.worker.add_child(1, ours.detach(), None, 1)
        self.events: Events = []

    def job(self) -> Job:
        job = self.link.next(10)
        assert job is not None, "no job came"
        return job

    def see(self, seen: Callable[[Events], bool]) -> Events:
        while not seen(self.events):
            assert select.select([self.worker.fileno()], [], [], 10)[0], f"only these came: {self.events}"
            self.events += self.worker.drain()
        return self.events

    def stop(self) -> Events:
        self.worker.stop("warm")
        assert self.link.next(10) is None
        assert self.link.stopped
        del self.link  # The child is gone.
        return self.see(lambda events: ("stopped",) in events)


@pytest.fixture
def bench(store_url: str) -> Iterator[Bench]:
    made = Bench(store_url)
    yield made
    made.worker.stop("cold")


def test_a_task_runs_and_its_result_is_stored(bench: Bench) -> None:
    bench.client.publish([message("a", argsrepr="(2, 3)")])
    job = bench.job()
    assert (job.id, job.task, job.queue) == ("a", "proj.add", "celery")
    assert job.headers == {"lang": "py", "task": "proj.add", "id": "a", "argsrepr": "(2, 3)"}
    assert job.headers is job.headers
    assert job.properties["correlation_id"] == "a"
    assert job.delivery_info == {"exchange": "", "routing_key": "celery", "priority": 3, "redelivered": False}
    assert (job.content_type, job.content_encoding) == ("application/json", "utf-8")
    assert (job.redelivered, job.failed_deliveries, job.compression) == (False, 0, None)
    embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    assert job.decode_json() == ([2, 3], {"a": None}, embed)

    bench.link.started(job, b"started", None)
    assert bench.client.wait_result("a", None, 10) == b"started"
    bench.link.finish(job, "SUCCESS", "ack", b"done", 60.0)
    assert bench.client.wait_result("a", b"started", 10) == b"done"
    wait_until(lambda: bench.worker.stats()["held"] == 0)
    assert bench.worker.stats()["succeeded"] == 1

    events = bench.stop()
    assert ("received", "proj.add", "a", None) in events
    assert ("connected", bench.client.broker_url) in events
    with pytest.raises(RuntimeError):
        bench.worker.start()


def test_follow_ups_are_published_with_the_outcome(bench: Bench) -> None:
    bench.client.publish([message("a")])
    bench.link.finish(bench.job(), "RETRY", "ack", publish=[message("a", "later", retries=1), message("b", "later")])
    wait_until(lambda: bench.client.queue_length("later") == 2)


def test_a_rejected_task_is_a_dead_letter_and_can_be_replayed(bench: Bench) -> None:
    bench.client.publish([message("a")])
    bench.link.finish(bench.job(), "REJECTED", "reject", reason="bad luck", kind="tired")
    events = bench.see(lambda events: any(event[0] == "dead" for event in events))
    assert ("dead", "proj.add", "a", "tired: bad luck") in events
    wait_until(lambda: bench.client.dead_letters() != [])  # The notice comes first, the store's answer after it.
    (letter,) = bench.client.dead_letters()
    assert (letter["kind"], letter["reason"], letter["queue"]) == ("tired", "bad luck", "celery")
    assert letter["headers"] is not None
    assert letter["headers"]["id"] == "a"
    assert letter["properties"] is not None
    assert letter["properties"]["correlation_id"] == "a"
    assert bench.client.dead_letter(letter["id"]) == letter
    assert bench.client.dead_replay([letter["id"]]) == 1
    assert bench.job().id == "a"


def test_a_requeued_task_comes_again(bench: Bench) -> None:
    bench.client.publish([message("a")])
    bench.link.finish(bench.job(), "REJECTED", "requeue")
    again = bench.job()
    assert (again.id, again.redelivered) == ("a", True)


@pytest.mark.parametrize(("state", "disposition"), [("DONE", "ack"), ("SUCCESS", "nack")])
def test_an_outcome_that_is_none_is_refused(bench: Bench, state: str, disposition: Any) -> None:
    bench.client.publish([message("a")])
    job = bench.job()
    with pytest.raises(ValueError, match="an outcome of state"):
        bench.link.finish(job, state, disposition)
    bench.link.finish(job, "IGNORED", "ack")
    wait_until(lambda: bench.worker.stats()["ignored"] == 1)


def test_a_retiring_child_gives_its_jobs_back(bench: Bench) -> None:
    bench.client.publish([message("a")])
    job = bench.job()
    bench.link.retire()
    assert bench.link.next() is None
    bench.link.finish(job, "SUCCESS", "ack")
    bench.see(lambda events: ("retiring", 1) in events and ("spawn", 1) in events)


def test_what_nobody_can_read_goes_to_the_dead_letters(bench: Bench) -> None:
    bench.client.publish([{**message("a"), "content_type": "application/x-python-serialize"}])
    bench.client.publish([{**message("b"), "headers": {"task": "proj.add"}}])
    bench.client.publish([message("c", expires=5)])
    wait_until(lambda: len(bench.client.dead_letters()) == 3)
    assert bench.link.next(0) is None


def published_body(bench: Bench, body: bytes, **headers: object) -> Job:
    sent = message("a", **headers)
    bench.client.publish([{**sent, "body": body}])
    return bench.job()


def test_compressed_bodies_are_unpacked(bench: Bench) -> None:
    body = json_dumps([[1], {}, None])
    job = published_body(bench, zlib.compress(body), compression="application/x-gzip")
    assert job.body == body
    assert job.decode_json() == ([1], {}, {})


def test_a_codec_only_python_has_is_named(bench: Bench) -> None:
    job = published_body(bench, b"packed", compression="application/x-lzma")
    assert (job.compression, job.body) == ("application/x-lzma", b"packed")


def test_damaged_bodies_are_malformed(bench: Bench) -> None:
    job = published_body(bench, b"damaged", compression="zlib")
    for read in (lambda: job.body, job.decode_json):
        with pytest.raises(MalformedError):
            read()


@pytest.mark.parametrize("body", [b"", b"5", b"[]", b"[[], {}]", b"[{}, {}, {}]", b"[[], [], {}]", b"[[], {}, 5]"])
def test_bodies_of_other_shapes_are_malformed(bench: Bench, body: bytes) -> None:
    with pytest.raises(MalformedError):
        published_body(bench, body).decode_json()


def test_protocol_1_reads_like_protocol_2(bench: Bench) -> None:
    old = {"task": "proj.add", "id": "old", "args": [1], "kwargs": {"k": 2}, "retries": 3, "taskset": "g",
           "callbacks": [{"task": "x"}], "utc": True}  # fmt: skip
    bench.client.publish([{**message("unused"), "headers": {}, "body": json.dumps(old).encode()}])
    job = bench.job()
    assert (job.id, job.task) == ("old", "proj.add")
    assert job.headers == {"task": "proj.add", "id": "old", "retries": 3, "group": "g"}
    embed = {"callbacks": [{"task": "x"}], "errbacks": None, "chain": None, "chord": None}
    assert job.decode_json() == ([1], {"k": 2}, embed)


def test_headers_of_a_hybrid_message_win(bench: Bench) -> None:
    body = {"task": "body", "id": "body", "args": [1], "kwargs": {}, "retries": 3}
    job = published_body(bench, json.dumps(body).encode(), retries=4)
    assert (job.id, job.headers["retries"], job.headers["task"]) == ("a", 4, "proj.add")


@pytest.mark.parametrize(
    "options",
    [{"queues": []}, {"queues": "celery"}, {"lease": "long"}, {"max_deliveries": -1}, {"prefetch_multiplier": "many"}],
)
def test_a_wrong_option_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        Worker("memory://options", None, options)


def test_a_task_needs_a_name() -> None:
    with pytest.raises(ValueError, match="name"):
        Worker("memory://options", None, {}).set_tasks([{"acks_late": True}])  # type: ignore[typeddict-item]


def test_numbers_need_a_running_worker() -> None:
    with pytest.raises(RuntimeError, match="not running"):
        Worker("memory://options", None, {}).stats()
