"""Result objects, on the in-process store."""

from __future__ import annotations

import asyncio
import copy
import io
import pickle
import queue
import sys
import threading
import traceback
import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from umbel import AsyncResult, EagerResult, Umbel, _current
from umbel.exceptions import IncompleteStream, TaskRevokedError
from umbel.exceptions import TimeoutError as ResultTimeout
from umbel.result import allow_join_result, denied_join_result, result_from_tuple
from umbel.task import Context


@pytest.fixture
def app() -> Iterator[Umbel]:
    with Umbel("proj", broker=f"memory://{uuid.uuid4()}") as app:
        yield app


@pytest.fixture
def result(app: Umbel) -> AsyncResult[Any]:
    return app.AsyncResult(str(uuid.uuid4()))


def test_unknown_ids_are_pending(result: AsyncResult[Any]) -> None:
    assert (result.state, result.status, result.result, result.traceback) == ("PENDING", "PENDING", None, None)
    assert [result.ready(), result.successful(), result.failed(), result.exists()] == [False] * 4
    assert (result.children, result.date_done, result.name) == (None, None, None)


def test_success(app: Umbel, result: AsyncResult[Any]) -> None:
    app.results.store(result.id, "SUCCESS", 5, children=[[["child", None], None]])
    assert result.get(timeout=5) == 5
    assert (result.state, result.info, result.ready(), result.successful()) == ("SUCCESS", 5, True, True)
    assert result.children == [AsyncResult("child")]
    assert isinstance(result.date_done, datetime)


def test_failure(app: Umbel, result: AsyncResult[Any]) -> None:
    app.results.store(result.id, "FAILURE", KeyError("missing"), "the text")
    with pytest.raises(KeyError, match="missing"):
        result.get(timeout=5)
    assert repr(result.get(propagate=False)) == "KeyError('missing')"
    assert (result.failed(), result.traceback) == (True, "the text")
    with pytest.raises(KeyError):
        result.maybe_throw()


def test_waiting_ends_with_the_record_and_not_before(app: Umbel, result: AsyncResult[Any]) -> None:
    seen: list[str] = []
    app.results.store(result.id, "PROGRESS", {"done": 1})

    def on_message(meta: dict[str, Any]) -> None:
        seen.append(meta["status"])
        if meta["status"] == "PROGRESS":
            app.results.store(result.id, "SUCCESS", "done")

    assert result.get(timeout=5, on_message=on_message) == "done"
    assert seen == ["PROGRESS", "SUCCESS"]


def test_state_is_read_again_until_it_is_ready(app: Umbel, result: AsyncResult[Any]) -> None:
    app.results.store(result.id, "PROGRESS", {"done": 1})
    assert result.info == {"done": 1}
    app.results.store(result.id, "SUCCESS", 2)
    assert result.info == 2
    app.results.forget([result.id])
    assert result.info == 2
    result.forget()
    assert result.state == "PENDING"


def test_timeout_and_intervals(result: AsyncResult[Any]) -> None:
    with pytest.raises(ResultTimeout, match=result.id):
        result.get(timeout=0.01)
    with pytest.raises(result.TimeoutError):
        result.get(timeout=0)
    calls: list[int] = []
    with pytest.raises(ResultTimeout):
        result.get(timeout=0.03, interval=0.01, on_interval=lambda: calls.append(1))
    assert calls


def test_callback(app: Umbel, result: AsyncResult[Any]) -> None:
    app.results.store(result.id, "SUCCESS", 5)
    seen: list[Any] = []
    result.get(timeout=5, callback=lambda *pair: seen.append(pair))
    assert seen == [(result.id, 5)]


def test_parents_that_failed(app: Umbel) -> None:
    parent = app.AsyncResult("parent")
    app.results.store("parent", "FAILURE", ValueError("in the parent"))
    child = AsyncResult[Any]("child", app=app, parent=parent)
    with pytest.raises(ValueError, match="in the parent"):
        child.get(timeout=5)
    with pytest.raises(ResultTimeout):
        child.get(timeout=0.01, follow_parents=False)


def test_not_inside_a_task(app: Umbel, result: AsyncResult[Any]) -> None:
    app.results.store(result.id, "SUCCESS", 5)
    token = _current.push_request(Context(id="x", called_directly=False))
    try:
        with pytest.raises(RuntimeError, match="within a task"):
            result.get(timeout=5)
        assert result.get(timeout=5, disable_sync_subtasks=False) == 5
        with allow_join_result():
            assert result.get(timeout=5) == 5
    finally:
        _current.pop_request(token)
    with denied_join_result(), pytest.raises(RuntimeError):
        result.get(timeout=5)
    assert result.get(timeout=5) == 5


def test_a_parent_that_fails_while_its_child_is_waited_for(app: Umbel) -> None:
    top = app.AsyncResult("top")
    child = AsyncResult[Any]("child", app=app, parent=AsyncResult("middle", app=app, parent=top))
    app.results.store("top", "SUCCESS", 1)

    def on_interval() -> None:
        app.results.store("middle", "REVOKED", TaskRevokedError("revoked"))

    with pytest.raises(TaskRevokedError):
        child.get(timeout=10, interval=0.01, on_interval=on_interval)

    async def run() -> Any:
        return await AsyncResult[Any]("child", app=app, parent=AsyncResult("middle", app=app))

    with pytest.raises(TaskRevokedError):
        asyncio.run(asyncio.wait_for(run(), 10))
    app.results.store("child", "SUCCESS", 2)
    assert AsyncResult[Any]("child", app=app, parent=top).get(timeout=10) == 2
    assert child.get(timeout=10, follow_parents=False) == 2


# --- trees


def tree(app: Umbel) -> AsyncResult[Any]:
    """A root with a single child and a group of two, one of which has a child."""
    group = [["g", None], [[["g1", None], None], [["g2", None], None]]]
    app.results.store("root", "SUCCESS", 0, children=[[["single", None], None], group])
    app.results.store("single", "SUCCESS", 1, children=[])
    app.results.store("g1", "SUCCESS", 2, children=[[["leaf", None], None]])
    app.results.store("g2", "SUCCESS", 3, children=[])
    return app.AsyncResult("root")


def test_collect(app: Umbel) -> None:
    root = tree(app)
    with pytest.raises(IncompleteStream, match="leaf"):
        list(root.iterdeps())
    with pytest.raises(ResultTimeout, match="leaf"):
        list(root.collect(timeout=0))
    app.results.store("leaf", "SUCCESS", 4, children=[])
    found = [(str(result), value) for result, value in tree(app).collect()]
    assert found == [("root", 0), ("single", 1), ("g", [2, 3]), ("g1", 2), ("g2", 3), ("leaf", 4)]
    assert root.get_leaf() == 4
    assert [(parent and str(parent), str(node)) for parent, node in root.iterdeps()][-1] == ("g1", "leaf")


def test_graph(app: Umbel) -> None:
    root = tree(app)
    app.results.store("leaf", "SUCCESS", 4)
    drawn = io.StringIO()
    root.graph.to_dot(drawn)
    assert '"root" -> "single"' in drawn.getvalue()
    assert "digraph dependencies {" in drawn.getvalue()
    assert [str(node) for node in root.graph.topsort()][-1] == "root"
    assert root.graph.valency_of(root) == 5
    assert repr(root.graph).startswith("root(5)\n     single(0)\n     g(3)")


# --- callbacks


def test_then_calls_back_in_its_own_time(app: Umbel, result: AsyncResult[Any]) -> None:
    called: queue.Queue[Any] = queue.Queue()
    result.then(called.put)
    app.results.store(result.id, "PROGRESS", 1)
    app.results.store(result.id, "FAILURE", KeyError("x"))
    assert called.get(timeout=10) is result
    assert result.failed()
    result.then(called.put)
    assert called.get_nowait() is result
    result.then(lambda _: 1 / 0, called.put)
    assert isinstance(called.get_nowait(), ZeroDivisionError)
    # Another object of the same task, after the thread has ended or not.
    app.AsyncResult(result.id).then(called.put)
    assert called.get(timeout=10) == result


def test_then_is_called_by_whoever_learns_of_the_end(app: Umbel, result: AsyncResult[Any]) -> None:
    called: list[Any] = []
    result.on_ready.then(called.append)
    app.results.store(result.id, "SUCCESS", 1)
    assert result.ready()
    assert called == [result]


def test_nobody_is_told_who_was_removed(app: Umbel, result: AsyncResult[Any]) -> None:
    called: queue.Queue[Any] = queue.Queue()
    other = app.AsyncResult("other")
    result.then(lambda _: called.put("removed"))
    other.then(lambda _: called.put("other"))
    app.backend.remove_pending_result(result)
    app.results.store(result.id, "SUCCESS", 1)
    app.results.store("other", "SUCCESS", 1)
    assert called.get(timeout=10) == "other"
    assert called.empty()


# --- tracebacks


def test_remote_tracebacks(app: Umbel, result: AsyncResult[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    text = 'Traceback (most recent call last):\n  File "/worker/tasks.py", line 7, in work\n    fail()\nKeyError: 1\n'
    app.results.store(result.id, "FAILURE", KeyError(1), text)
    with pytest.raises(KeyError) as local:
        result.get(timeout=5)
    assert "in work" not in "".join(traceback.format_exception(local.value))
    app.conf.task_remote_tracebacks = True
    with pytest.raises(KeyError) as remote:
        app.AsyncResult(result.id).get(timeout=5)
    assert 'File "/worker/tasks.py", line 7, in work' in "".join(traceback.format_exception(remote.value))
    monkeypatch.setitem(sys.modules, "tblib", None)
    with pytest.raises(KeyError) as without_tblib:
        app.AsyncResult(result.id).get(timeout=5)
    assert "line 7, in work" in "".join(traceback.format_exception(without_tblib.value))


# --- asyncio


def test_await(app: Umbel, result: AsyncResult[Any]) -> None:
    async def run() -> Any:
        waiting = asyncio.gather(result, app.AsyncResult(result.id), app.AsyncResult("other"))
        await asyncio.sleep(0)
        app.results.store(result.id, "SUCCESS", 5)
        app.results.store("other", "SUCCESS", 6)
        return await waiting

    assert asyncio.run(asyncio.wait_for(run(), 10)) == [5, 5, 6]


def test_await_what_is_there_already_and_what_failed(app: Umbel, result: AsyncResult[Any]) -> None:
    app.results.store(result.id, "FAILURE", KeyError("x"))

    async def run() -> Any:
        with pytest.raises(KeyError):
            await result
        return await app.AsyncResult(result.id).aget(timeout=5, propagate=False)

    assert isinstance(asyncio.run(asyncio.wait_for(run(), 10)), KeyError)


def test_await_with_a_timeout(app: Umbel, result: AsyncResult[Any]) -> None:
    async def run() -> None:
        with pytest.raises(ResultTimeout):
            await result.aget(timeout=0.01)
        app.results.store(result.id, "SUCCESS", 5)
        assert await result.aget(timeout=5) == 5

    asyncio.run(run())


def test_two_event_loops(app: Umbel) -> None:
    ids = [str(uuid.uuid4()) for _ in range(20)]
    found: dict[int, list[Any]] = {}
    ready = threading.Barrier(3)

    def wait(number: int) -> None:
        async def run() -> None:
            waiting = asyncio.gather(*(app.AsyncResult(task_id) for task_id in ids))
            await asyncio.sleep(0)
            await asyncio.get_running_loop().run_in_executor(None, ready.wait)
            found[number] = await asyncio.wait_for(waiting, 20)

        asyncio.run(run())

    threads = [threading.Thread(target=wait, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    ready.wait()
    for task_id in ids:
        app.results.store(task_id, "SUCCESS", task_id)
    for thread in threads:
        thread.join()
    assert found == {0: ids, 1: ids}


# --- as values


def test_identity(app: Umbel) -> None:
    one, same, other = app.AsyncResult("a"), app.AsyncResult("a"), app.AsyncResult("b")
    assert one == same == "a"
    assert one != other
    assert len({one, same, other}) == 2
    assert (str(one), repr(one), one.task_id) == ("a", "<AsyncResult: a>", "a")
    assert copy.copy(one) == pickle.loads(pickle.dumps(one)) == one
    with pytest.raises(ValueError, match="task id"):
        AsyncResult(None)  # type: ignore[arg-type]


def test_tuples(app: Umbel) -> None:
    child = AsyncResult[Any]("c", app=app, parent=app.AsyncResult("p"))
    assert child.as_tuple() == (("c", (("p", None), None)), None)
    assert child.as_list() == ["c", "p"]
    back = result_from_tuple([["c", [["p", None], None]], None], app)
    assert back == child
    assert back.parent == child.parent
    assert result_from_tuple("c", app) == result_from_tuple(child, app) == child
    assert result_from_tuple(["c", None], app) == child


def test_eager_results() -> None:
    fine = EagerResult[int]("i", 5, "SUCCESS", name="t")
    assert (fine.get(), fine.ready(), fine.state, fine.result, fine.name) == (5, True, "SUCCESS", 5, "t")
    failed = EagerResult[int]("i", KeyError("x"), "FAILURE", "text")
    with pytest.raises(KeyError):
        failed.get()
    assert isinstance(failed.get(propagate=False), KeyError)
    assert failed.traceback == "text"
    assert copy.copy(fine).get() == 5
    assert repr(fine) == "<EagerResult: i>"

    async def run() -> int:
        return await fine

    assert asyncio.run(run()) == 5
    fine.revoke()
    assert fine.state == "REVOKED"
