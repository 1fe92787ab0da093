"""Result stores that both sides have: what one writes the other reads, and workers of both share one."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import billiard.exceptions
import celery
import celery.exceptions
import celery.result
import pytest
from apps.compat_tasks import OwnError, define, settings
from servers.celery_command import CELERY, QUIET
from servers.own_server import PostgresServer
from servers.redis_server import RedisServer
from servers.result_stores import SHARED, store_url
from servers.worker_process import WorkerProcess

import umbel.canvas
import umbel.exceptions
import umbel.result
from umbel import Umbel
from umbel.task import Context

PATIENCE = 30.0


@pytest.fixture(scope="module", params=SHARED)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Each store in turn."""
    return store_url(request.param, request, tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module", params=["json", "pickle"])
def sides(request: pytest.FixtureRequest, url: str) -> Iterator[tuple[Any, Umbel]]:
    """An application of each, with one store and each serializer of results."""
    common = {"result_serializer": request.param, "result_accept_content": ["json", "pickle"], "result_extended": True}
    theirs = celery.Celery("shared", broker="memory://", backend=url, set_as_current=False)
    theirs.conf.update(common)
    with Umbel("shared", broker="memory://", backend=url, set_as_current=False, changes=common) as ours:
        yield theirs, ours
    if hasattr(theirs.backend, "servers"):
        theirs.backend.client.close()
    theirs.close()


@pytest.fixture
def task_id() -> str:
    return str(uuid.uuid4())


VALUE = {"a": [1, Decimal("1.5")], "b": None}
FIELDS: dict[str, Any] = {
    "task": "proj.add", "args": [1, 2], "kwargs": {"k": 3}, "hostname": "w@h", "retries": 2, "group": "g",
    "parent_id": "p", "delivery_info": {"routing_key": "fast"}, "stamps": {"mark": ["x"]}, "stamped_headers": ["mark"],
}  # fmt: skip


def test_what_umbel_writes_celery_reads(sides: tuple[Any, Umbel], task_id: str) -> None:
    theirs, ours = sides
    child = [["child", None], None]
    ours.results.store(task_id, "SUCCESS", VALUE, None, Context(FIELDS), [child])
    seen = theirs.AsyncResult(task_id)
    assert (seen.state, seen.result, seen.traceback) == ("SUCCESS", VALUE, None)
    assert [one.id for one in seen.children] == ["child"]
    assert (seen.name, seen.args, seen.kwargs, seen.worker, seen.retries, seen.queue) == (
        "proj.add", [1, 2], {"k": 3}, "w@h", 2, "fast",
    )  # fmt: skip
    assert seen.date_done is not None
    assert seen._get_task_meta()["mark"] == ["x"]
    failed = "f-" + task_id
    ours.results.store(failed, "FAILURE", OwnError("broken", 7), "the text")
    seen = theirs.AsyncResult(failed)
    with pytest.raises(OwnError) as caught:
        seen.get(timeout=PATIENCE)
    assert (caught.value.args, seen.traceback) == (("broken", 7), "the text")
    progress = "p-" + task_id
    ours.results.store(progress, "PROGRESS", {"done": 1})
    assert (theirs.AsyncResult(progress).state, theirs.AsyncResult(progress).info) == ("PROGRESS", {"done": 1})
    theirs.AsyncResult(progress).forget()
    assert ours.AsyncResult(progress).state == "PENDING"


def test_what_celery_writes_umbel_reads(sides: tuple[Any, Umbel], task_id: str) -> None:
    theirs, ours = sides
    request = celery.app.task.Context({**FIELDS, "_children": [theirs.AsyncResult("child")]})
    theirs.backend.mark_as_done(task_id, VALUE, request=request)
    seen = ours.AsyncResult(task_id)
    assert (seen.get(timeout=PATIENCE), seen.state, seen.children) == (VALUE, "SUCCESS", [ours.AsyncResult("child")])
    assert (seen.name, seen.args, seen.kwargs, seen.worker, seen.retries, seen.queue) == (
        "proj.add", [1, 2], {"k": 3}, "w@h", 2, "fast",
    )  # fmt: skip
    meta = ours.results.read(task_id)
    assert meta is not None
    assert (meta["mark"], meta["stamped_headers"]) == (["x"], ["mark"])
    assert [(one.retries, one.state, one.worker) for one in seen.attempts] == [(2, "SUCCESS", "w@h")]
    failed = "f-" + task_id
    theirs.backend.mark_as_failure(failed, OwnError("broken", 7), traceback="the text")
    again = ours.AsyncResult(failed)
    with pytest.raises(OwnError) as caught:
        again.get(timeout=PATIENCE)
    assert (caught.value.args, again.traceback) == (("broken", 7), "the text")
    # A success is final, whoever wrote it and whoever comes late.
    ours.results.store(task_id, "FAILURE", KeyError("late"))
    assert ours.AsyncResult(task_id).successful()
    ours.AsyncResult(failed).forget()
    assert theirs.AsyncResult(failed).state == "PENDING"


def test_groups_are_saved_for_each_other(sides: tuple[Any, Umbel], task_id: str) -> None:
    theirs, ours = sides
    inner = umbel.result.GroupResult[Any]("inner", [ours.AsyncResult("b")])
    group = ours.GroupResult(task_id, [ours.AsyncResult("a"), inner])
    group.save()
    back = theirs.GroupResult.restore(task_id)
    assert back.as_tuple() == group.as_tuple()
    other = theirs.GroupResult("o-" + task_id, [theirs.AsyncResult("a")])
    other.save()
    restored = ours.GroupResult.restore(other.id)
    assert restored is not None
    assert restored.as_tuple() == other.as_tuple()
    restored.delete()
    assert theirs.GroupResult.restore(other.id) is None


# --- workers


@pytest.fixture(scope="module")
def shared(
    redis_server: RedisServer, postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """A worker of each and a client of each: one Redis between them, and results in one PostgreSQL."""
    broker, results = redis_server.url(3), f"db+{postgres_server.url()}"
    folder = tmp_path_factory.mktemp("shared")
    env = {"UMBEL_TEST_URL": broker, "UMBEL_TEST_RESULTS": results, "PYTHONWARNINGS": "ignore"}
    workers = [
        WorkerProcess(folder, ["-c", "2", "-Q", "for-umbel", "-n", "umbel", "-l", "INFO"], env, "apps.compat_umbel"),
        WorkerProcess(
            folder, ["-c", "2", "-Q", "for-celery", "-n", "celery", *QUIET], env, "apps.compat_celery", CELERY
        ),
    ]
    theirs = celery.Celery("compat", set_as_current=False)
    ours = Umbel("compat", set_as_current=False)
    for app, who in ((theirs, "celery client"), (ours, "umbel client")):
        app.conf.update({**settings(broker, results)})
        define(app, who)
    try:
        for worker in workers:
            worker.wait_ready(60)
        yield {"celery": theirs, "umbel": ours}
    finally:
        ours.close()
        theirs.close()
        for worker in workers:
            worker.stop()


@pytest.mark.parametrize("worker", ["umbel", "celery"])
def test_workers_of_both_store_in_one_database(shared: dict[str, Any], worker: str) -> None:
    ours, theirs = shared["umbel"], shared["celery"]
    for producer in (ours, theirs):
        add, fail, retry = (producer.tasks[f"compat.{name}"] for name in ("add", "fail", "retry"))
        sent = [add.apply_async((number, 1), queue=f"for-{worker}") for number in range(10)]
        failed = fail.apply_async(("own", "broken", 7), queue=f"for-{worker}")
        retried = retry.apply_async((2,), queue=f"for-{worker}")
        group = umbel.result.GroupResult[int]("g", [ours.AsyncResult(one.id) for one in sent])
        assert group.get(timeout=PATIENCE) == list(range(1, 11))
        assert celery.result.GroupResult("g", [theirs.AsyncResult(one.id) for one in sent]).join(
            timeout=PATIENCE, interval=0.05
        ) == list(range(1, 11))
        for reader in (ours, theirs):
            with pytest.raises(OwnError, match="broken"):
                reader.AsyncResult(failed.id).get(timeout=PATIENCE)
            assert reader.AsyncResult(retried.id).get(timeout=PATIENCE) == [worker, 2]


@pytest.mark.parametrize("worker", ["umbel", "celery"])
def test_chords_of_a_store_that_cannot_count(shared: dict[str, Any], worker: str) -> None:
    queue = f"for-{worker}"
    for producer, canvas in ((shared["umbel"], umbel.canvas), (shared["celery"], celery)):
        add, echo = producer.tasks["compat.add"], producer.tasks["compat.echo"]
        header = [add.s(number, 1).set(queue=queue) for number in range(5)]
        result = canvas.chord(header)(echo.s().set(queue=queue))
        # A Celery client sends what looks for the results to the default queue, unless told otherwise.
        assert result.get(timeout=PATIENCE) == [[[1, 2, 3, 4, 5]], {}]


def test_what_the_engine_says_of_a_task_goes_to_the_database_too(shared: dict[str, Any]) -> None:
    ours, theirs = shared["umbel"], shared["celery"]
    hard = ours.tasks["compat.sleep"].apply_async((30,), queue="for-umbel", time_limit=0.5)
    with pytest.raises(umbel.exceptions.TimeLimitExceeded):
        ours.AsyncResult(hard.id).get(timeout=PATIENCE)
    with pytest.raises(billiard.exceptions.TimeLimitExceeded):
        theirs.AsyncResult(hard.id).get(timeout=PATIENCE)
