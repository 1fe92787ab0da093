"""What every result store must do, seen through an application: those of the core, in Python and of Celery alike."""

from __future__ import annotations

import asyncio
import datetime
import queue
import threading
import time
import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from servers.result_stores import BRIDGED, NATIVE, SHARED, store_url
from servers.worker_process import wait_until

from umbel import Umbel
from umbel.canvas import chain, chord, group
from umbel.exceptions import ChordError, OperationalError
from umbel.exceptions import TimeoutError as ResultTimeout
from umbel.result import GroupResult
from umbel.task import Context
from umbel.testing import start_worker

PATIENCE = 20.0


@pytest.fixture(scope="module", params=[*NATIVE, *SHARED, *BRIDGED])
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of store in turn."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def url(kind: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where it is."""
    return store_url(kind, request, tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def app(url: str) -> Iterator[Umbel]:
    """An application with that store."""
    app = make(url)
    yield app
    app.close()


def make(url: str, **settings: Any) -> Umbel:
    return Umbel("stores", broker=f"memory://{uuid.uuid4()}", backend=url, set_as_current=False, changes=settings)


@pytest.fixture
def task_id() -> str:
    return str(uuid.uuid4())


VALUES: list[Any] = [
    None,
    5,
    "é \U0001f600",
    {"a": [1, {"b": None}], "moment": datetime.datetime(2030, 1, 2, tzinfo=datetime.timezone.utc)},
    [Decimal("1.10"), uuid.UUID(int=7), b"\xff\x00"],
]


def test_values_come_back(app: Umbel) -> None:
    ids = [str(uuid.uuid4()) for _ in VALUES]
    for one, value in zip(ids, VALUES, strict=True):
        app.results.store(one, "SUCCESS", value, children=[[["child", None], None]])
    assert [app.AsyncResult(one).get(timeout=PATIENCE) for one in ids] == VALUES
    first = app.AsyncResult(ids[0])
    assert (first.state, first.children, first.traceback) == ("SUCCESS", [app.AsyncResult("child")], None)
    assert first.date_done is not None
    age = datetime.datetime.now(datetime.timezone.utc) - first.date_done
    assert abs(age.total_seconds()) < 60
    unknown = app.AsyncResult("unknown-" + ids[0])
    assert (unknown.state, unknown.exists(), first.exists()) == ("PENDING", False, True)


def test_failures_come_back(app: Umbel, task_id: str) -> None:
    app.results.store(task_id, "FAILURE", KeyError("missing", 7), "the text\n")
    result = app.AsyncResult(task_id)
    with pytest.raises(KeyError) as caught:
        result.get(timeout=PATIENCE)
    assert (caught.value.args, result.traceback) == (("missing", 7), "the text\n")


def test_states_follow_each_other_and_success_is_final(app: Umbel, task_id: str) -> None:
    for state in ("STARTED", "PROGRESS", "my-own", "SUCCESS"):
        app.results.store(task_id, state, {"now": state})
        result = app.AsyncResult(task_id)
        assert (result.state, result.info) == (state, {"now": state})
    for state in ("FAILURE", "STARTED", "SUCCESS"):
        app.results.store(task_id, state, KeyError("late") if state == "FAILURE" else "late")
    assert app.AsyncResult(task_id).result == {"now": "SUCCESS"}


def test_a_wait_hears_of_every_end(app: Umbel, task_id: str) -> None:
    seen: queue.Queue[Any] = queue.Queue()
    result = app.AsyncResult(task_id)
    waiting = threading.Thread(
        target=lambda: seen.put(result.get(timeout=PATIENCE, on_message=lambda meta: seen.put(meta["status"])))
    )
    waiting.start()
    app.results.store(task_id, "PROGRESS", 1)
    assert seen.get(timeout=PATIENCE) == "PROGRESS"
    app.results.store(task_id, "SUCCESS", "end")
    assert [seen.get(timeout=PATIENCE) for _ in range(2)] == ["SUCCESS", "end"]
    waiting.join()
    with pytest.raises(ResultTimeout):
        app.AsyncResult("never-" + task_id).get(timeout=0.05)


def test_many_results_are_joined(app: Umbel, task_id: str) -> None:
    group = app.GroupResult(task_id, [app.AsyncResult(f"{task_id}-{number}") for number in range(50)])

    def finish() -> None:
        for number, result in enumerate(group.results):
            app.results.store(result.id, "SUCCESS", number)

    writing = threading.Thread(target=finish)
    writing.start()
    assert group.get(timeout=PATIENCE) == list(range(50))
    writing.join()
    again = app.GroupResult(task_id, [app.AsyncResult(result.id) for result in group])
    assert again.completed_count() == 50

    async def wait() -> list[Any]:
        return [await result async for result in app.ResultSet([app.AsyncResult(one.id) for one in group])]

    assert sorted(asyncio.run(asyncio.wait_for(wait(), PATIENCE))) == list(range(50))


def test_saved_groups(app: Umbel, task_id: str) -> None:
    inner = GroupResult[Any]("inner", [app.AsyncResult("b")])
    group = app.GroupResult(task_id, [app.AsyncResult("a"), inner], parent=app.AsyncResult("above"))
    group.save()
    group.save()
    back = app.GroupResult.restore(task_id)
    assert back is not None
    assert back.as_tuple() == group.as_tuple()
    back.delete()
    assert app.GroupResult.restore(task_id) is None


def test_forgetting(app: Umbel, task_id: str) -> None:
    app.results.store(task_id, "SUCCESS", 1)
    assert app.results.forget([task_id, "unknown-" + task_id]) == 1
    assert app.AsyncResult(task_id).state == "PENDING"
    app.results.store(task_id, "FAILURE", KeyError("anew"))
    assert app.AsyncResult(task_id).failed()


def test_expired_results_are_removed(kind: str, url: str, task_id: str) -> None:
    with make(url, result_expires=3600) as app:
        app.results.store(task_id, "SUCCESS", "stays")
        app.client.remove_expired_results()
        assert app.AsyncResult(task_id).result == "stays"
    if kind in ("redis", "memcached", *BRIDGED):
        # They forget by themselves, or count whole seconds.
        return
    with make(url, result_expires=0.001) as app:
        app.results.store("old-" + task_id, "SUCCESS", "goes")

        def gone() -> bool:
            app.client.remove_expired_results()
            return not app.AsyncResult("old-" + task_id).exists()

        wait_until(gone, PATIENCE, "the record to be removed")


def test_extended_results(kind: str, url: str, task_id: str) -> None:
    request = Context(
        id=task_id, task="proj.add", args=[1, Decimal(2)], kwargs={"k": "v"}, hostname="w@h", retries=3,
        delivery_info={"routing_key": "fast"}, stamps={"mark": ["x"]}, stamped_headers=["mark"],
    )  # fmt: skip
    with make(url, result_extended=True) as app:
        app.results.store(task_id, "SUCCESS", 5, request=request)
        result = app.AsyncResult(task_id)
        assert (result.name, result.args, result.kwargs) == ("proj.add", [1, Decimal(2)], {"k": "v"})
        assert (result.worker, result.retries, result.queue) == ("w@h", 3, "fast")
        meta = app.results.read(task_id)
        assert meta is not None
        assert (meta["stamped_headers"], meta["mark"]) == (["mark"], ["x"])


@pytest.mark.parametrize(
    "settings",
    [
        {"result_serializer": "pickle", "result_accept_content": ["pickle", "json"]},
        {"result_serializer": "msgpack"},
        {"result_serializer": "yaml"},
        {"result_compression": "zstd"},
    ],
    ids=lambda settings: str(next(iter(settings.values()))),
)
def test_serializers_and_compression(url: str, task_id: str, settings: dict[str, Any]) -> None:
    with make(url, **settings) as app:
        app.results.store(task_id, "SUCCESS", {"a": [1, 2, "x" * 500]}, children=[[["c", None], None]])
        result = app.AsyncResult(task_id)
        assert (result.get(timeout=PATIENCE), result.children) == ({"a": [1, 2, "x" * 500]}, ["c"])
        app.results.store("f-" + task_id, "FAILURE", KeyError("x"), "text")
        with pytest.raises(KeyError, match="x"):
            app.AsyncResult("f-" + task_id).get(timeout=PATIENCE)
        app.results.store(task_id, "FAILURE", KeyError("late"))
        assert app.AsyncResult(task_id).successful()


@pytest.mark.parametrize("task_id", ["../outside", "a/b", "with space", "x" * 300, "zero\0", "é", ""])
def test_strange_ids_do_no_harm(app: Umbel, kind: str, url: str, task_id: str) -> None:
    if kind in BRIDGED:
        pytest.skip("what they do with them is Celery's")
    before = sorted(_outside(url))
    started = time.monotonic()
    try:
        app.results.store(task_id, "SUCCESS", 1)
    except OperationalError as error:
        refused = str(error)
        assert "EncodeError" in refused
        assert time.monotonic() - started < 3, "it was tried again"
    else:
        assert app.AsyncResult(task_id).get(timeout=PATIENCE) == 1
    assert sorted(_outside(url)) == before


def _outside(url: str) -> Iterator[str]:
    """What lies beside the folder of a store."""
    path = Path(url.partition("://")[2])
    if path.is_dir():
        yield from (entry.name for entry in path.parent.iterdir())


def test_a_worker_stores_there(app: Umbel, kind: str) -> None:
    @app.task(name="double")
    def double(x: int) -> int:
        return 2 * x

    @app.task(name="fail", bind=True, max_retries=2, default_retry_delay=0)
    def fail(self: Any, until: int) -> str:
        self.update_state(state="PROGRESS", meta={"done": self.request.retries})
        if self.request.retries < until:
            raise self.retry(exc=ValueError(f"try {self.request.retries}"))
        return "at last"

    @app.task(name="silent", ignore_result=True)
    def silent() -> int:
        return 1

    with start_worker(app, concurrency=2):
        ignored = silent.delay()
        results = [double.delay(number) for number in range(20)]
        assert [result.get(timeout=PATIENCE) for result in results] == list(range(0, 40, 2))
        third = fail.delay(2)
        assert third.get(timeout=PATIENCE) == "at last"
        with pytest.raises(ValueError, match="try 2"):
            fail.delay(3).get(timeout=PATIENCE)
        if kind != "bridged-rows":
            assert [one.state for one in third.attempts] == ["RETRY", "RETRY", "SUCCESS"]
        expired = double.apply_async((1,), expires=-1)
        # What the engine itself says of a task goes to the same store.
        with pytest.raises(Exception, match="expired"):
            expired.get(timeout=PATIENCE)
    assert app.AsyncResult(ignored.id).state == "PENDING"


def test_chords(url: str) -> None:
    with make(url, result_chord_retry_interval=0.05) as app:

        @app.task(name="double")
        def double(x: int) -> int:
            return 2 * x

        @app.task(name="fail")
        def fail() -> None:
            raise KeyError("member")

        @app.task(name="total")
        def total(values: list[Any]) -> Any:
            return values

        @app.task(name="adds", bind=True, ignore_result=True)
        def adds(self: Any, more: int) -> str:
            for number in range(more):
                self.add_to_chord(adds.s(number))
            return f"added {more}"

        with start_worker(app, concurrency=2):
            header = [double.s(1), group([double.s(2), double.s(3)]), chain(double.s(4), double.s())]
            assert chord(header, total.s()).apply_async().get(timeout=PATIENCE) == [2, 4, 6, 16]
            assert chord([double.s(1)], total.s() | total.s()).apply_async().get(timeout=PATIENCE) == [2]
            # Results that nobody else wants are looked for; so are those of members that members added.
            found = chord([adds.s(2), double.s(5)], total.s()).apply_async().get(timeout=PATIENCE)
            assert sorted(map(str, found)) == ["10", "added 0", "added 0", "added 1", "added 2"]
            late = chord([adds.s(0).set(expires=-5), double.s(1)], total.s()).apply_async()
            with pytest.raises(ChordError, match="TaskRevokedError"):
                late.get(timeout=PATIENCE)
            with pytest.raises(ChordError, match="KeyError"):
                chord([double.s(1), fail.s()], total.s()).apply_async().get(timeout=PATIENCE)
            with pytest.raises(ChordError, match="KeyError"):
                chord([double.s(1), chain(fail.si(), double.s())], total.s()).apply_async().get(timeout=PATIENCE)


def test_errors_of_settings() -> None:
    for url, words in [
        ("nosuch://x", "names no known store"),
        ("file:///no/such/folder", "no folder that can be written to"),
        ("db+nosuchdialect://x", "result_backend"),
        ("no.such.module:Class", "cannot be used"),
        ("cache+memcached://", "needs a server"),
    ]:
        with make(url) as app, pytest.raises(Exception, match=words):
            app.AsyncResult("x").state  # noqa: B018, it is read
