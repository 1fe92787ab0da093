"""Bytes nobody should have sent: to the dead letters with a reason, the worker and its children unharmed."""

from __future__ import annotations

import ast
import base64
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from apps.wire import MAX_BYTES
from servers.redis_server import RedisServer
from servers.stack import PATIENCE
from servers.worker_process import WorkerProcess, urls, wait_until

from umbel import Umbel

VECTORS = Path(__file__).parent.parent / "wire" / "vectors"
DATABASE = 63


class Target:
    """A worker to throw bytes at."""

    def __init__(self, server: RedisServer, folder: Path) -> None:
        url = server.url(DATABASE)
        self.redis: redis.Redis = server.connect(DATABASE)
        self.app = Umbel("client", broker=url, backend=url, set_as_current=False)
        self.worker = WorkerProcess(folder, ["-c", "1", "-l", "INFO"], urls(url), "apps.wire").wait_ready()
        self.children = self.worker.task_children(1)

    def throw(self, *payloads: bytes | str) -> None:
        """Puts them into the queue as they are."""
        for payload in payloads:
            self.redis.lpush("celery", payload)

    def check_unharmed(self) -> None:
        """Everything was taken, nothing is held, and the same child runs tasks."""
        for number in range(3):
            assert self.app.send_task("wire.add", (number, 1)).get(timeout=PATIENCE) == number + 1
        wait_until(lambda: self.redis.llen("celery") == 0, PATIENCE, "an empty queue")
        wait_until(lambda: self.redis.hlen("unacked") == 0, PATIENCE, "nothing held")
        assert self.worker.process.poll() is None
        assert self.worker.task_children(1) == self.children, self.worker.log()

    def dead(self, count: int) -> list[Any]:
        """The dead letters, once there are that many; they are removed."""
        letters = wait_until(
            lambda: found if len(found := self.app.client.dead_letters(0, count + 50)) >= count else None,
            PATIENCE,
            f"{count} dead letters",
        )
        assert len(letters) == count
        self.app.client.dead_purge(None)
        return letters

    def close(self) -> None:
        """Ends the worker."""
        assert self.worker.stop() == 0
        self.app.close()
        self.redis.close()


@pytest.fixture(scope="module")
def target(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    found = Target(redis_server, tmp_path_factory.mktemp("strange"))
    yield found
    found.close()


def recorded(name: str) -> bytes:
    """What was pushed when a vector was recorded."""
    vector = json.loads((VECTORS / f"edge_{name}.json").read_text())
    line = next(line for line in vector["captured"]["monitor"] if '"LPUSH" "celery"' in line)
    quoted = re.search(r'"LPUSH" "celery" (".*")$', line)
    assert quoted is not None
    payload: str = ast.literal_eval(quoted[1])
    return payload.encode("latin-1")


@pytest.mark.parametrize(
    ("name", "task_id", "value"),
    [
        ("minimal_headers", "min-1", 42),
        ("minimal_headers_null_embed", "min-2", 42),
        ("plain_body_encoding", "min-3", 43),
        ("v1_minimal", "v1-1", 44),
    ],
)
def test_recorded_messages_that_say_little_run(target: Target, name: str, task_id: str, value: int) -> None:
    target.throw(recorded(name))
    assert target.app.AsyncResult(task_id).get(timeout=PATIENCE) == value
    target.check_unharmed()


@pytest.mark.parametrize("name", ["missing_id", "not_a_task", "not_accepted", "undecodable", "unregistered", "bad_eta"])
def test_recorded_messages_that_cannot_run_are_kept(target: Target, name: str) -> None:
    target.throw(recorded(name))
    letter = target.dead(1)[0]
    assert letter["queue"] == "celery"
    assert letter["kind"]
    assert letter["reason"]
    target.check_unharmed()


def envelope(body: Any = b"[[1, 2], {}, {}]", **changes: Any) -> dict[str, Any]:
    """A message as kombu writes it, with parts replaced; None removes one."""
    task_id = changes.pop("id", f"strange-{random.getrandbits(64):x}")
    whole: dict[str, Any] = {
        "body": base64.b64encode(body).decode() if isinstance(body, bytes) else body,
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"task": "wire.add", "id": task_id, "lang": "py"},
        "properties": {
            "correlation_id": task_id,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "celery"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": f"tag-{task_id}",
        },
    }
    for name, value in changes.items():
        whole[name.replace("_", "-")] = value
    return {name: value for name, value in whole.items() if value is not None}


def with_headers(**headers: Any) -> dict[str, Any]:
    changed = envelope()
    changed["headers"].update(headers)
    return changed


def with_properties(**properties: Any) -> dict[str, Any]:
    changed = envelope()
    changed["properties"].update(properties)
    return changed


DEEP = 100_000
HUGE = b"[[1, 2], {}, {}]" + b" " * (2 * MAX_BYTES)
#: Whatever it says, it cannot be run.
HOPELESS: dict[str, Any] = {
    "nothing": b"",
    "no-json": b"hello",
    "not-utf8": b"\xff\xfe\x00",
    "null": b"null",
    "number": b"17",
    "list": b"[]",
    "empty-object": b"{}",
    "string": b'"text"',
    "deep-lists": b"[" * DEEP,
    "deep-objects": b'{"a":' * DEEP,
    "deep-inside": json.dumps(envelope())[:-1].encode() + b', "x": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "body-is-a-number": envelope(body=5),
    "body-is-a-list": envelope(body=[1]),
    "body-is-no-base64": envelope(body="***"),
    "body-is-no-json": envelope(b"{{{"),
    "body-is-not-utf8": envelope(b"\xff\xfe"),
    "body-is-deep": envelope(b"[" * 50_000 + b"]" * 50_000),
    "body-has-two-parts": envelope(b"[[], {}]"),
    "body-is-a-scalar": envelope(b"7"),
    "args-is-a-number": envelope(b"[7, {}, {}]"),
    "kwargs-is-a-list": envelope(b"[[], [1], {}]"),
    "embed-is-a-list": envelope(b"[[1, 2], {}, [1]]"),
    "headers-is-a-list": envelope(headers=[1]),
    "headers-is-text": envelope(headers="x"),
    "task-is-a-number": with_headers(task=7),
    "task-is-null": with_headers(task=None),
    "id-is-a-list": with_headers(id=[1]),
    "eta-is-a-number-of-text": with_headers(eta="soon"),
    "expires-is-nonsense": with_headers(expires="never"),
    "compressed-with-nothing-known": with_headers(compression="application/x-rot13"),
    "compressed-badly": with_headers(compression="application/x-gzip"),
    "unknown-content": envelope(content_type="application/x-python-serialize"),
    "too-large": envelope(HUGE),
}  # fmt: skip


def as_bytes(payload: Any) -> bytes:
    return payload if isinstance(payload, bytes) else json.dumps(payload).encode()


@pytest.mark.parametrize("name", list(HOPELESS))
def test_what_cannot_run_is_kept_with_a_reason(target: Target, name: str) -> None:
    target.throw(as_bytes(HOPELESS[name]))
    letter = target.dead(1)[0]
    assert letter["queue"] == "celery"
    assert letter["kind"]
    assert len(letter["reason"]) > 5
    target.check_unharmed()


#: Odd, and yet clear enough to run.
HARMLESS: dict[str, dict[str, Any]] = {
    "odd-priority": with_properties(priority="high"),
    "more-keys": envelope(surprise={"a": [1]}),
    "odd-retries": with_headers(retries=None),
    "odd-timelimit": with_headers(timelimit=[None, None]),
    "no-charset": envelope(content_encoding=None),
    "unknown-charset": envelope(content_encoding="x-martian"),
}


@pytest.mark.parametrize("name", list(HARMLESS))
def test_what_is_odd_but_clear_runs(target: Target, name: str) -> None:
    message = HARMLESS[name]
    target.throw(as_bytes(message))
    assert target.app.AsyncResult(message["headers"]["id"]).get(timeout=PATIENCE) == 3
    target.check_unharmed()


def test_a_message_cut_anywhere(target: Target) -> None:
    whole = as_bytes(envelope())
    cuts = range(0, len(whole), 7)
    target.throw(*(whole[:cut] for cut in cuts))
    assert all(letter["reason"] for letter in target.dead(len(cuts)))
    target.check_unharmed()


def test_random_bytes_and_random_damage(target: Target) -> None:
    """Damage may leave a message that runs; what matters is that everything is accounted for."""
    generator = random.Random(20)
    target.throw(*(generator.randbytes(generator.randrange(1, 400)) for _ in range(100)))
    target.dead(100)
    for number in range(200):
        damaged = bytearray(as_bytes(envelope(id=f"damaged-{number}")))
        for _ in range(generator.randrange(1, 4)):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        target.throw(bytes(damaged))
    target.check_unharmed()
    target.app.client.dead_purge(None)


def test_missing_parts(target: Target) -> None:
    """Without one of its parts a message runs or is kept, and does no harm."""
    whole = envelope()
    for name in list(whole):
        part = {key: value for key, value in envelope().items() if key != name}
        target.throw(as_bytes(part))
    for name in list(whole["properties"]):
        part = envelope()
        del part["properties"][name]
        target.throw(as_bytes(part))
    target.check_unharmed()
    target.app.client.dead_purge(None)


def test_two_messages_with_one_tag(target: Target) -> None:
    first, second = envelope(id="same-tag-1"), envelope(id="same-tag-2")
    second["properties"]["delivery_tag"] = first["properties"]["delivery_tag"]
    target.throw(as_bytes(first), as_bytes(second))
    assert target.app.AsyncResult("same-tag-1").get(timeout=PATIENCE) == 3
    assert target.app.AsyncResult("same-tag-2").get(timeout=PATIENCE) == 3
    target.check_unharmed()
