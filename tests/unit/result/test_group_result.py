"""Results of tasks that belong together."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from umbel import AsyncResult, Umbel
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
    assert back != ResultSet(list(group))
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
