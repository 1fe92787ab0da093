"""Workflows on a worker in this process, and without one."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from umbel import Umbel, chain, chord, group
from umbel.exceptions import ChordError
from umbel.testing import start_worker

PATIENCE = 20.0


def build(**settings: Any) -> tuple[Umbel, SimpleNamespace]:
    url = f"memory://{uuid.uuid4()}"
    app = Umbel("flows", broker=url, backend=url, set_as_current=False, changes=settings)
    called = SimpleNamespace(ids=[], event=threading.Event())

    @app.task(name="add")
    def add(x: Any, y: Any) -> Any:
        return x + y

    @app.task(name="same")
    def same(value: Any) -> Any:
        return value

    @app.task(name="boom")
    def boom(*args: Any) -> None:
        raise KeyError("boom")

    @app.task(name="told")
    def told(task_id: str) -> None:
        called.ids.append(task_id)
        called.event.set()

    @app.task(name="more", bind=True)
    def more(self: Any, lazy: bool) -> str:
        sig = self.add_to_chord(same.si("added"), lazy=lazy)
        if lazy:
            sig.delay()
        return "member"

    return app, SimpleNamespace(add=add, same=same, boom=boom, told=told, more=more, called=called)


@pytest.fixture(scope="module")
def flow() -> Iterator[SimpleNamespace]:
    app, tasks = build()
    with start_worker(app, concurrency=2):
        yield SimpleNamespace(app=app, **vars(tasks))
    app.close()


@pytest.mark.parametrize("lazy", [False, True])
def test_a_member_adds_another(flow: SimpleNamespace, lazy: bool) -> None:
    result = chord([flow.more.s(lazy), flow.same.s("other")], flow.same.s()).apply_async()
    assert sorted(result.get(timeout=PATIENCE)) == ["added", "member", "other"]


def test_a_body_that_cannot_be_sent_fails(flow: SimpleNamespace) -> None:
    body = flow.same.s().set(task_id=str(uuid.uuid4())).on_error(flow.told.s())
    failure = {"task": "celery.chord_unlock", "id": "unlock", "record": None}
    ends = flow.app.tasks["umbel.fail_dependents"]
    ends.apply_async(("group", body), {"result": []}, headers={"umbel_failure": failure})
    with pytest.raises(ChordError, match=r"celery\.chord_unlock\[unlock\] ended without a result"):
        flow.app.AsyncResult(body.id).get(timeout=PATIENCE)
    assert flow.called.event.wait(PATIENCE)
    assert flow.called.ids.pop() == body.id
    flow.called.event.clear()


def test_a_long_body_arrives(flow: SimpleNamespace) -> None:
    steps = chain(flow.same.s(), *(flow.add.s([number]) for number in range(100)))
    found = chord([flow.same.s(1), flow.same.s(2)], steps).apply_async().get(timeout=PATIENCE)
    assert found == [1, 2, *range(100)]


def test_adding_without_a_chord(flow: SimpleNamespace) -> None:
    with pytest.raises(ValueError, match="not member of any chord"):
        flow.more(False)


def test_errbacks_of_a_chord_that_are_tasks(flow: SimpleNamespace) -> None:
    flow.called.event.clear()
    body = flow.same.s().on_error(flow.told.s())
    result = chord([flow.boom.s(), flow.boom.s(), flow.same.s(1)], body).apply_async()
    with pytest.raises(ChordError, match=r"^Dependency .* raised KeyError\('boom'\)$"):
        result.get(timeout=PATIENCE, follow_parents=False)
    assert flow.called.event.wait(PATIENCE)
    assert flow.called.ids == [result.id]


def test_links_that_are_workflows(flow: SimpleNamespace) -> None:
    first = flow.add.s(1, 1)
    first.link(chain(flow.add.s(1), flow.add.s(2)))
    first.link(group(flow.add.s(1), flow.add.s(2)))
    result = first.apply_async()
    assert result.get(timeout=PATIENCE) == 2
    alone, together = sorted(result.children, key=lambda child: hasattr(child, "results"))
    assert alone.get(timeout=PATIENCE) == 5
    assert together.get(timeout=PATIENCE) == [3, 4]


def test_empty_ones(flow: SimpleNamespace) -> None:
    assert group([]).apply_async().results == []
    assert chord([], flow.same.s()).apply_async().get(timeout=PATIENCE) == []
    assert chain(flow.add.s(1, 1), group([]), flow.add.s(1)).apply_async().get(timeout=PATIENCE) == 3


def test_a_workflow_may_be_sent_again(flow: SimpleNamespace) -> None:
    sums = chord([flow.add.s(1, 1), flow.add.s(2, 2)], flow.same.s())
    assert [sums.apply_async().get(timeout=PATIENCE) for _ in range(2)] == [[2, 4], [2, 4]]


def test_frozen_before_it_is_sent(flow: SimpleNamespace) -> None:
    steps = chain(flow.add.s(1, 1), group(flow.add.s(1), flow.add.s(2)), flow.same.s())
    frozen = steps.freeze()
    sent = steps.apply_async()
    assert sent.id == frozen.id
    assert frozen.get(timeout=PATIENCE) == [3, 4]
    assert [member.get(timeout=PATIENCE) for member in frozen.parent.results] == [3, 4]
    assert frozen.parent.parent.get(timeout=PATIENCE) == 2


def test_groups_take_no_links(flow: SimpleNamespace) -> None:
    with pytest.raises(TypeError, match="Cannot add link to group"):
        group(flow.add.s(1, 1)).apply_async(link=flow.same.s())


def test_countdown_of_a_chord_is_its_headers(flow: SimpleNamespace) -> None:
    result = chord([flow.same.s(1)], flow.same.s()).apply_async(countdown=0.01)
    assert result.get(timeout=PATIENCE) == [1]


@pytest.mark.parametrize("settings", [{}, {"task_always_eager": True}])
def test_in_place(settings: dict[str, Any]) -> None:
    app, tasks = build(**settings)
    run = (lambda sig: sig.apply_async()) if settings else (lambda sig: sig.apply())
    with app:
        add, same = tasks.add, tasks.same
        assert run(chain(add.s(1, 1), add.s(2))).get() == 4
        assert run(group(add.s(1, 1), add.s(2, 2))).get() == [2, 4]
        assert run(chord([add.s(1, 1), add.s(2, 2)], same.s())).get() == [2, 4]
        assert run(chain(add.s(1, 1), group(add.s(1), add.s(2)), same.s())).get() == [3, 4]
        linked = add.s(1, 1)
        linked.link(tasks.told.s())
        run(linked)
        failing = tasks.boom.s().on_error(tasks.told.s())
        failed = run(failing)
        assert failed.state == "FAILURE"
        assert tasks.called.ids == [2, failed.id]
