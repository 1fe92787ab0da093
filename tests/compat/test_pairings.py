"""Producer x worker x reader, each of them Celery or Umbel."""

from __future__ import annotations

import datetime
import json
import re
import uuid
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import billiard.exceptions
import celery.exceptions
import pytest
from apps.basic import notes
from apps.compat_tasks import OwnError
from servers.worker_process import WorkerProcess, wait_until

import umbel.exceptions

PATIENCE = 30.0


def send(producer: Any, worker: str, name: str, *args: Any, **options: Any) -> Any:
    """A call of `compat.NAME` for the queue of that worker."""
    return producer.tasks[f"compat.{name}"].apply_async(args, queue=f"for-{worker}", **options)


def test_a_task_and_its_result(producer: Any, worker: str, readers: list[Any]) -> None:
    result = send(producer, worker, "add", 2, 3)
    assert result.get(timeout=PATIENCE) == 5
    for reader in readers:
        seen = reader.AsyncResult(result.id)
        assert seen.get(timeout=PATIENCE) == 5
        assert seen.state == "SUCCESS"
        assert seen.date_done is not None


def test_the_request_is_the_same(producer: Any, worker: str) -> None:
    result = send(producer, worker, "who", headers={"x-trace": "abc"})
    ran, own, root, parent, retries, headers = result.get(timeout=PATIENCE)
    assert ran == worker
    assert own == root == result.id
    assert parent is None
    assert retries == 0
    assert headers["x-trace"] == "abc"


#: How tasks are called whose requests are compared.
CALLS: dict[str, dict[str, Any]] = {
    "plain": {},
    "full": {
        "countdown": 0.1, "expires": 600, "priority": 3, "headers": {"x-trace": "abc"}, "shadow": "shown",
        "time_limit": 50, "soft_time_limit": 40, "argsrepr": "(secret)", "kwargsrepr": "{secret}",
        "ignore_result": False,
        "reply_to": "somebody", "link": {"task": "compat.same", "args": [], "options": {}},
    },
    "stamped": {"stamped_headers": ["tenant"], "tenant": "acme"},
}  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
def test_every_field_of_a_request_is_the_same(producer: Any, workers: Any, call: str) -> None:
    seen = {}
    for worker in workers:
        options = {**CALLS[call], "queue": f"for-{worker}", "task_id": f"{uuid.uuid4()}", "origin": "here"}
        if call != "full":
            options["reply_to"] = "somebody"
        result = producer.tasks["compat.request"].apply_async((1, "two"), {"three": 3}, **options)
        text = json.dumps(result.get(timeout=PATIENCE), sort_keys=True, default=str)
        text = (
            text.replace(options["task_id"], "the id").replace(f"for-{worker}", "the queue").replace(f"{worker}@", "@")
        )
        seen[worker] = json.loads(re.sub(r"\d{4}-\d\d-\d\dT[^\"]*", "a moment", text))
    for request in seen.values():
        del request["hostname"]
        # Those of the envelope in Redis, which are not the message's own.
        for name in ("delivery_tag", "delivery_info", "body_encoding"):
            request["properties"].pop(name, None)
    assert seen["umbel"] == seen["celery"]


VALUES: dict[str, Any] = {
    "moment": datetime.datetime(2030, 1, 2, 3, 4, 5, 6000, tzinfo=datetime.timezone.utc),
    "day": datetime.date(2030, 1, 2),
    "exact": Decimal("1.10"),
    "uuid": uuid.UUID(int=7),
    "bytes": b"\xff\x00\x01",
    "text": "é \U0001f600",
    "big": 2**70,
    "nested": {"a": [None, True, 1.5, {"b": []}]},
}


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"compression": "bzip2"}])
def test_values_arrive_as_they_were(producer: Any, worker: str, readers: list[Any], options: dict[str, Any]) -> None:
    task = producer.tasks["compat.echo"]
    result = task.apply_async((1, "two"), VALUES, queue=f"for-{worker}", **options)
    for reader in readers:
        assert reader.AsyncResult(result.id).get(timeout=PATIENCE) == [[1, "two"], VALUES]


@pytest.mark.parametrize("serializer", ["msgpack", "yaml"])
def test_other_serializers(producer: Any, worker: str, serializer: str) -> None:
    assert send(producer, worker, "add", [1], [2], serializer=serializer).get(timeout=PATIENCE) == [1, 2]


def test_failures_have_their_class(producer: Any, worker: str, readers: list[Any]) -> None:
    own, key = send(producer, worker, "fail", "own", "broken", 7), send(producer, worker, "fail", "key", "x")
    for reader in readers:
        with pytest.raises(OwnError) as caught:
            reader.AsyncResult(own.id).get(timeout=PATIENCE)
        assert caught.value.args == ("broken", 7)
        with pytest.raises(KeyError):
            reader.AsyncResult(key.id).get(timeout=PATIENCE)
        assert "OwnError: ('broken', 7)" in reader.AsyncResult(own.id).traceback


def test_retries(producer: Any, worker: str) -> None:
    assert send(producer, worker, "retry", 2).get(timeout=PATIENCE) == [worker, 2]


def test_retries_that_wait(producer: Any, worker: str) -> None:
    assert send(producer, worker, "retry", 1, 1).get(timeout=PATIENCE) == [worker, 1]


def test_the_reason_of_a_retry_is_seen(producer: Any, worker: str, readers: list[Any]) -> None:
    result = send(producer, worker, "retry", 1, 60)
    for reader in readers:
        seen = reader.AsyncResult(result.id)
        wait_until(lambda: seen.state == "RETRY", PATIENCE, "RETRY")  # noqa: B023, called at once
        assert isinstance(seen.result, OwnError)


def test_retries_end_in_their_reason(producer: Any, worker: str) -> None:
    with pytest.raises(OwnError, match="try 5"):
        send(producer, worker, "retry", 99).get(timeout=PATIENCE)


def test_countdown(producer: Any, worker: str) -> None:
    start = datetime.datetime.now(datetime.timezone.utc)
    assert send(producer, worker, "add", 1, 1, countdown=1).get(timeout=PATIENCE) == 2
    assert datetime.datetime.now(datetime.timezone.utc) - start >= datetime.timedelta(seconds=0.95)


def test_eta_in_another_time_zone(producer: Any, worker: str) -> None:
    zone = datetime.timezone(datetime.timedelta(hours=9))
    due = datetime.datetime.now(zone) + datetime.timedelta(seconds=1)
    assert send(producer, worker, "add", 1, 1, eta=due).get(timeout=PATIENCE) == 2
    assert datetime.datetime.now(zone) >= due - datetime.timedelta(seconds=0.05)


def test_expired(producer: Any, worker: str, celery_app: Any, umbel_app: Any) -> None:
    long_ago = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
    result = send(producer, worker, "add", 1, 1, expires=long_ago)
    with pytest.raises(celery.exceptions.TaskRevokedError):
        celery_app.AsyncResult(result.id).get(timeout=PATIENCE)
    with pytest.raises(umbel.exceptions.TaskRevokedError):
        umbel_app.AsyncResult(result.id).get(timeout=PATIENCE)
    assert umbel_app.AsyncResult(result.id).state == celery_app.AsyncResult(result.id).state == "REVOKED"


def test_time_limits(producer: Any, worker: str, celery_app: Any, umbel_app: Any) -> None:
    hard = send(producer, worker, "sleep", 30, time_limit=1)
    soft = send(producer, worker, "sleep", 30, soft_time_limit=1)
    with pytest.raises(billiard.exceptions.TimeLimitExceeded):
        celery_app.AsyncResult(hard.id).get(timeout=PATIENCE)
    with pytest.raises(umbel.exceptions.TimeLimitExceeded):
        umbel_app.AsyncResult(hard.id).get(timeout=PATIENCE)
    with pytest.raises(billiard.exceptions.SoftTimeLimitExceeded):
        celery_app.AsyncResult(soft.id).get(timeout=PATIENCE)
    with pytest.raises(umbel.exceptions.SoftTimeLimitExceeded):
        umbel_app.AsyncResult(soft.id).get(timeout=PATIENCE)


def test_an_unknown_task_for_umbel_is_not_registered_to_celery(celery_app: Any, workers: object) -> None:
    result = celery_app.send_task("compat.unheard_of", queue="for-umbel")
    with pytest.raises(celery.exceptions.NotRegistered):
        result.get(timeout=PATIENCE)


def test_states_on_the_way(producer: Any, worker: str, readers: list[Any], tmp_path: Path) -> None:
    until = tmp_path / "go"
    result = send(producer, worker, "progress", str(until))
    for reader in readers:
        seen = reader.AsyncResult(result.id)
        wait_until(lambda: seen.state == "PROGRESS", PATIENCE, "PROGRESS")  # noqa: B023, called at once
        assert seen.info == {"by": worker}
    until.touch()
    assert result.get(timeout=PATIENCE) == worker


def test_ignored_results(producer: Any, worker: str, notes_path: Path, readers: list[Any]) -> None:
    result = send(producer, worker, "note", str(notes_path), "x", ignore_result=True)
    wait_until(lambda: notes(notes_path), PATIENCE, "the task")
    send(producer, worker, "add", 1, 1).get(timeout=PATIENCE)
    assert [reader.AsyncResult(result.id).state for reader in readers] == ["PENDING", "PENDING"]


def test_chains_and_links_of_a_celery_client(celery_app: Any, worker: str, workers: object) -> None:
    add = celery_app.tasks["compat.add"]
    queue = f"for-{worker}"
    chain = celery.chain(add.s(1, 1).set(queue=queue), add.s(10).set(queue=queue), add.s(100).set(queue=queue))
    result = chain.apply_async()
    assert result.get(timeout=PATIENCE) == 112
    assert result.parent.get(timeout=PATIENCE) == 12
    linked = add.apply_async((1, 1), queue=queue, link=add.s(5).set(queue=queue))
    assert linked.get(timeout=PATIENCE) == 2
    child = wait_until(lambda: linked.children, PATIENCE, "the linked task")[0]
    assert child.get(timeout=PATIENCE) == 7


def test_a_chain_through_both_workers(celery_app: Any, workers: object) -> None:
    add = celery_app.tasks["compat.add"]
    queues = ["for-umbel", "for-celery", "for-umbel", "for-celery"]
    steps = [add.s(1, 1).set(queue="for-celery"), *(add.s(1).set(queue=queue) for queue in queues)]
    assert celery.chain(*steps).apply_async().get(timeout=PATIENCE) == 6


def test_a_chain_that_breaks_fails_as_a_whole(celery_app: Any, worker: str, workers: object) -> None:
    add, fail = celery_app.tasks["compat.add"], celery_app.tasks["compat.fail"]
    queue = f"for-{worker}"
    chain = celery.chain(fail.si("own", "first").set(queue=queue), add.s(1).set(queue=queue))
    with pytest.raises(OwnError, match="first"):
        chain.apply_async().get(timeout=PATIENCE)


def test_mixed_workers_share_a_queue_and_run_all_once(
    producer: Any, workers: dict[str, WorkerProcess], notes_path: Path
) -> None:
    task = producer.tasks["compat.note"]
    results = [task.apply_async((str(notes_path), f"{number}", 0.02), queue="shared") for number in range(150)]
    ran = Counter(result.get(timeout=PATIENCE) for result in results)
    assert set(ran) == {"celery", "umbel"}
    lines = [line.split()[0] for line in notes(notes_path)]
    assert sorted(lines, key=int) == [str(number) for number in range(150)]
