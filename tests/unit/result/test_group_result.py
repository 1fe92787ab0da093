"""Results of tasks that belong together."""

from __future__ import annotations

import asyncio
import pickle
import queue
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from umbel import AsyncResult, EagerResult, Umbel
from umbel.exceptions import TimeoutError as ResultTimeout
from umbel.result import GroupResult, ResultSet, denied_join_result, result_from_tuple


@pytest.fixture
def app() -> Iterator[Umbel]:
    with Umbel("proj", broker=f"memory://{uuid.uuid4()}") as app:
        yield app


@pytest.fixture
def group(app: Umbel) -> GroupResult[int]:
    return GroupResult("g", [app.AsyncResult(name) for name in "abc"])


def finish(app: Umbel, *names: str) -> None:
    for name in names:
        app.results.store(name, "SUCCESS", name.upper())


def test_waiting_for_all(app: Umbel, group: GroupResult[str]) -> None:
    finish(app, "a", "b")
    assert (group.ready(), group.waiting(), group.completed_count(), group.successful()) == (False, True, 2, False)
    with pytest.raises(ResultTimeout):
        group.get(timeout=0.01)
    finish(app, "c")
    assert group.get(timeout=5) == group.join(timeout=5) == ["A", "B", "C"]
    assert (group.ready(), group.successful(), group.failed()) == (True, True, False)
    group.forget()
    assert group.waiting()


def test_the_first_failure_is_raised(app: Umbel, group: GroupResult[str]) -> None:
    finish(app, "a", "c")
    group.maybe_throw()
    app.results.store("b", "FAILURE", KeyError("in b"))
    with pytest.raises(KeyError, match="in b"):
        group.get(timeout=5)
    with pytest.raises(KeyError):
        group.maybe_throw()
    assert group.failed()
    assert repr(group.get(timeout=5, propagate=False)) == "['A', KeyError('in b'), 'C']"


def test_await(app: Umbel, group: GroupResult[str]) -> None:
    finish(app, *"abc")

    async def run() -> list[str]:
        return await group

    assert asyncio.run(run()) == ["A", "B", "C"]


def test_not_inside_a_task(group: GroupResult[str]) -> None:
    with denied_join_result(), pytest.raises(RuntimeError):
        group.get(timeout=5)


def test_as_values(app: Umbel, group: GroupResult[Any]) -> None:
    back = result_from_tuple([["g", None], [[["a", None], None], [["b", None], None], [["c", None], None]]], app)
    assert isinstance(back, GroupResult)
    assert back == group == "g"
    assert back.as_tuple() == group.as_tuple()
    assert hash(back) == hash(group)
    assert ResultSet(list(group)) == ResultSet(list(back)) != ResultSet([])
    assert (len(group), group[1].id, bool(GroupResult("e", []))) == (3, "b", True)
    assert (str(group), repr(group)) == ("g", "<GroupResult: g [a, b, c]>")
    assert group.children == group.results


def test_groups_among_children(app: Umbel) -> None:
    group = [["g", None], [[["a", None], None]]]
    app.results.store("parent", "SUCCESS", 1, children=[group, [["single", None], None]])
    children = app.AsyncResult("parent").children
    assert children is not None
    assert isinstance(children[0], GroupResult)
    assert children[0].results == children[0].children == [AsyncResult("a", app=app)]
    assert children[1] == "single"


# --- sets


def test_members_come_and_go(app: Umbel) -> None:
    results = ResultSet[Any]([], app=app)
    a, b = app.AsyncResult("a"), app.AsyncResult("b")
    results.add(a)
    results.add(a)
    results.update([a, b])
    assert results.results == [a, b]
    results.discard("nobody")
    results.remove("a")
    with pytest.raises(KeyError):
        results.remove(a)
    assert list(results) == [b]
    results.clear()
    assert (len(results), results.get(timeout=5), results.supports_native_join) == (0, [], None)


def test_looking_takes_one_read_for_all(app: Umbel, group: GroupResult[Any]) -> None:
    reads: list[int] = []
    read_many = app.results.read_many
    app.results.read_many = lambda ids: (reads.append(len(ids)), read_many(ids))[1]  # type: ignore[method-assign]
    assert not group.ready()
    finish(app, *"abc")
    assert group.successful()
    assert (group.completed_count(), group.failed(), reads) == (3, False, [3, 3])


def test_ten_thousand_results_take_one_listener(app: Umbel) -> None:
    names = [f"t{number}" for number in range(10_000)]
    group = GroupResult[str]("many", [app.AsyncResult(name) for name in names])
    finish(app, *names[:5000])
    writer = threading.Thread(target=finish, args=(app, *names[5000:]))
    writer.start()
    values = group.get(timeout=60)
    writer.join()
    assert values == [name.upper() for name in names]


def test_the_first_failure_to_arrive_is_raised_by_get_and_the_first_in_order_by_join(
    app: Umbel, group: GroupResult[Any]
) -> None:
    app.results.store("c", "FAILURE", KeyError("in c"))
    with pytest.raises(KeyError, match="in c"):
        group.get(timeout=5)
    app.results.store("a", "FAILURE", ValueError("in a"))
    with pytest.raises(ValueError, match="in a"):
        group.join(timeout=5)


def test_callbacks_of_joins(app: Umbel, group: GroupResult[Any]) -> None:
    finish(app, *"abc")
    seen: list[tuple[str, str]] = []
    note = lambda task_id, value: seen.append((task_id, value))  # noqa: E731
    assert group.join(timeout=5, callback=note) == []
    assert seen == [("a", "A"), ("b", "B"), ("c", "C")]
    assert group.join_native(timeout=5, callback=note) is None
    assert sorted(seen[3:]) == seen[:3]


def test_records_on_the_way_and_pauses(app: Umbel, group: GroupResult[Any]) -> None:
    app.results.store("a", "PROGRESS", {"done": 1})
    finish(app, "b", "c")
    seen: list[str] = []

    def on_interval() -> None:
        finish(app, "a")

    assert group.get(5, interval=0.01, on_message=lambda meta: seen.append(meta["status"]), on_interval=on_interval)
    assert sorted(seen) == ["PROGRESS", "SUCCESS", "SUCCESS", "SUCCESS"]


def test_in_the_order_of_completion(app: Umbel, group: GroupResult[Any]) -> None:
    finish(app, "b")
    arrivals = group.iterate(timeout=5)
    assert next(arrivals) == "B"
    finish(app, "c")
    assert next(arrivals) == "C"
    finish(app, "a")
    assert list(arrivals) == ["A"]
    assert {task_id: meta["result"] for task_id, meta in group.iter_native()} == {"a": "A", "b": "B", "c": "C"}


def test_no_time_is_one_look(app: Umbel, group: GroupResult[Any]) -> None:
    finish(app, "a", "b")
    with pytest.raises(ResultTimeout, match="c within 0s"):
        group.get(timeout=0)
    finish(app, "c")
    assert group.get(timeout=0) == app.GroupResult("g", list(group)).get(timeout=0) == ["A", "B", "C"]
    assert app.AsyncResult("c").get(timeout=0) == "C"


def test_groups_in_groups_ignored_and_eager_members(app: Umbel) -> None:
    ignored = app.AsyncResult("ignored")
    ignored.ignored = True
    inner = GroupResult[Any]("inner", [app.AsyncResult("a"), app.AsyncResult("b")])
    outer = GroupResult[Any]("outer", [inner, ignored, EagerResult("e", 5, "SUCCESS"), app.AsyncResult("a")])
    with pytest.raises(ResultTimeout, match="2 tasks"):
        outer.get(timeout=0.01)
    assert (outer.ready(), outer.completed_count()) == (False, 1)
    finish(app, "a", "b")
    assert outer.get(timeout=5) == outer.join(timeout=5) == [["A", "B"], None, 5, "A"]
    assert dict(outer.iter_native())["inner"] == inner.results
    assert outer.completed_count() == 3
    app.results.store("b", "FAILURE", KeyError("deep"))
    again = GroupResult[Any]("outer", [GroupResult("inner", [app.AsyncResult("x"), app.AsyncResult("c")])])
    app.results.store("c", "FAILURE", KeyError("deep"))
    with pytest.raises(KeyError, match="deep"):
        again.get(timeout=5)


# --- saved groups


def test_saved_groups(app: Umbel) -> None:
    parent = GroupResult[Any]("above", [app.AsyncResult("z")])
    group = app.GroupResult("saved", [app.AsyncResult("a"), GroupResult("in", [app.AsyncResult("b")])], parent=parent)
    assert app.GroupResult.restore("saved") is None
    group.save()
    back = app.GroupResult.restore("saved")
    assert back is not None
    assert (back, back.parent, back.app) == (group, parent, app)
    assert back.as_tuple() == group.as_tuple() == GroupResult.restore("saved", app=app).as_tuple()  # type: ignore[union-attr]
    finish(app, "a", "b")
    assert back.get(timeout=5) == ["A", ["B"]]
    back.delete()
    assert app.GroupResult.restore("saved") is None


def test_a_group_survives_pickle(app: Umbel, group: GroupResult[Any]) -> None:
    app.set_current()
    back = pickle.loads(pickle.dumps(app.GroupResult("g", group.results)))
    assert (back, type(back)) == (group, GroupResult)


# --- callbacks


def test_then_calls_back_without_anybody_waiting(app: Umbel, group: GroupResult[Any]) -> None:
    called: queue.Queue[Any] = queue.Queue()
    group.then(called.put)
    group[0].then(lambda result: result.result * 2).then(called.put)
    finish(app, "a")
    assert called.get(timeout=10) == "AA"
    finish(app, "b", "c")
    assert called.get(timeout=10) is group
    group.then(called.put)
    assert called.get_nowait() is group
    assert GroupResult("empty", []).then(called.put).ready


# --- asyncio


def test_async_iteration_in_the_order_of_completion(app: Umbel, group: GroupResult[Any]) -> None:
    progress: list[tuple[int, int]] = []

    async def run() -> list[str]:
        finish(app, "c")
        order = []
        async for result in group.as_completed(timeout=10, on_progress=lambda *pair: progress.append(pair)):
            order.append(result.id)
            finish(app, *{1: "b", 2: "a"}.get(len(order), ""))
        return order

    assert asyncio.run(run()) == ["c", "b", "a"]
    assert progress == [(1, 3), (2, 3), (3, 3)]

    async def values() -> list[Any]:
        return [await result async for result in group]

    assert asyncio.run(values()) == ["A", "B", "C"]


def test_async_joins(app: Umbel, group: GroupResult[Any]) -> None:
    async def run() -> None:
        with pytest.raises(ResultTimeout):
            await group.aget(timeout=0.01)
        app.results.store("b", "FAILURE", KeyError("in b"))
        with pytest.raises(KeyError, match="in b"):
            await group
        finish(app, "a", "c")
        assert repr(await group.aget(propagate=False)) == "['A', KeyError('in b'), 'C']"
        assert await group.aget(propagate=False, callback=lambda *_: None) is None

    asyncio.run(run())
    many = GroupResult[str]("many", [app.AsyncResult(f"t{number}") for number in range(2000)])
    finish(app, *(f"t{number}" for number in range(2000)))
    assert len(asyncio.run(asyncio.wait_for(_all(many), 60))) == 2000


async def _all(group: GroupResult[str]) -> list[str]:
    return await group
