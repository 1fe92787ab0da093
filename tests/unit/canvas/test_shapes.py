"""Signatures as dicts, beside what the installed Celery makes of the same expressions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import umbel
from umbel import Umbel, _native
from umbel.canvas import StampingVisitor, maybe_signature

celery = pytest.importorskip("celery", reason="Celery is needed to compare with it")

EXPRESSIONS = [
    "add.s(1, 2)",
    "add.si(1, x=2)",
    "add.s(1).set(queue='q', countdown=3)",
    "add.s(1).clone((5,), countdown=2)",
    "add.si(1).clone((5,))",
    "add.signature((1,), {'x': 2}, queue='q')",
    "signature('other', args=(1,), kwargs={'a': 2}, priority=3)",
    "add.s(1) | add.s(2)",
    "add.s(1) | add.s(2) | add.s(3)",
    "add.s(1) | (add.s(2) | add.s(3))",
    "chain(add.s(1), add.s(2))",
    "chain([add.s(1), add.s(2)])",
    "chain(add.s(i) for i in range(3))",
    "chain(add.s(1))",
    "group(add.s(1), add.s(2))",
    "group(add.s(i) for i in range(3))",
    "group([])",
    "group(add.s(1))",
    "group(group(add.s(1)), add.s(2))",
    "chain(add.s(1), group(add.s(2), add.s(3)))",
    "chain(add.s(1), group(add.s(2)))",
    "group(add.s(1), add.s(2)) | add.s(3)",
    "chain(group(add.s(1), add.s(2)), add.s(3))",
    "chain(add.s(0), group(add.s(1), add.s(2)), add.s(3))",
    "add.s(0) | group(add.s(1), add.s(2)) | add.s(3) | add.s(4)",
    "group(add.s(1), add.s(2)) | add.s(3) | add.s(4)",
    "group(add.s(1), add.s(2)) | add.s(3) | group(add.s(4), add.s(5)) | add.s(6)",
    "chord([add.s(1), add.s(2)], add.s(3))",
    "chord(group(add.s(1), add.s(2)), add.s(3))",
    "chord([add.s(1)], add.s(3)) | add.s(4)",
    "chord((add.s(i) for i in range(2)), chain(add.s(3), add.s(4)))",
    "add.chunks([(1, 2), (3, 4), (5, 6)], 2)",
    "add.chunks([(1, 2), (3, 4), (5, 6)], 2).group()",
    "add.map([1, 2])",
    "add.starmap([(1, 2)])",
    "add.s(1).on_error(add.s(9))",
    "chain(add.s(1).on_error(add.s(9)), add.s(2))",
    "chain(add.s(1), group([]), add.s(2))",
]


def names(library: Any, app: Any) -> dict[str, Any]:
    @app.task(name="add")
    def add(*args: Any, **kwargs: Any) -> None:
        pass

    return {
        "add": add,
        **{name: getattr(library, name) for name in ("chain", "chord", "group", "signature")},
    }


@pytest.fixture(scope="module")
def sides() -> Iterator[SimpleNamespace]:
    theirs = celery.Celery("shapes", broker="memory://", set_as_current=False)
    ours = Umbel("shapes", broker="memory://shapes", set_as_current=False)
    yield SimpleNamespace(ours=names(umbel, ours), theirs=names(celery, theirs), app=ours, celery=theirs)
    ours.close()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_the_dict_is_celerys(sides: SimpleNamespace, expression: str) -> None:
    ours, theirs = (eval(expression, dict(names)) for names in (sides.ours, sides.theirs))
    assert json.loads(_native.json_dumps(ours)) == json.loads(_native.json_dumps(plain(theirs)))


def plain(value: Any) -> Any:
    """Celery's lazy lists as lists."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return [plain(item) for item in value] if not isinstance(value, (str, int, type(None))) else value


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_a_signature_survives_the_wire(sides: SimpleNamespace, expression: str) -> None:
    there = _native.json_dumps(eval(expression, dict(sides.ours)))
    back = maybe_signature(_native.json_loads(there), app=sides.app)
    assert _native.json_dumps(back) == there
    assert type(back).__name__.lstrip("_") in {"Signature", "chain", "group", "chord"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_celery_reads_ours(sides: SimpleNamespace, expression: str) -> None:
    ours = json.loads(_native.json_dumps(eval(expression, dict(sides.ours))))
    theirs = celery.signature(json.loads(json.dumps(ours)), app=sides.celery)
    assert json.loads(json.dumps(plain(theirs))) == ours


class Visitor(StampingVisitor):
    def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
        return {"seen": sig.task, "stamped_headers": ["seen"], "priority": 3}

    def on_chain_start(self, chain: Any, **headers: Any) -> dict[str, Any]:
        return {"in": "chain"}


def test_stamps_reach_every_call(sides: SimpleNamespace) -> None:
    add, group, chain = (sides.ours[name] for name in ("add", "group", "chain"))
    first = add.s(1).on_error(add.s(8))
    flow = chain(first, group(add.s(2), add.s(3)), add.s(4))
    flow.stamp(Visitor(), tenant="t")
    chord = flow.tasks[1]
    every = [flow.tasks[0], *chord.header_group().tasks, chord.body, flow.tasks[0].options["link_error"][0]]
    for sig in every:
        assert sig.options["tenant"] == "t"
        assert sig.options["seen"] == "add"
        assert sig.options["priority"] == 3
        assert {"tenant", "seen", "in"} <= set(sig.options["stamped_headers"])


def test_stamps_given_twice(sides: SimpleNamespace) -> None:
    add = sides.ours["add"]
    once = add.s(1).stamp(a="1").stamp(a="2")
    assert once.options["a"] == "2"
    both = add.s(1).stamp(a="1").stamp(append_stamps=True, a="2")
    assert sorted(both.options["a"]) == ["1", "2"]


def test_options_that_must_stay(sides: SimpleNamespace) -> None:
    sig = sides.ours["add"].s(1).stamp(a="1")
    sig.freeze(group_id="g")
    again = sig.clone(group_id="other", a="2", queue="q")
    assert (again.options["group_id"], again.options["a"], again.options["queue"]) == ("g", "1", "q")


def test_clones_do_not_share(sides: SimpleNamespace) -> None:
    chain, add = sides.ours["chain"], sides.ours["add"]
    flow = chain(add.s(1), add.s(2))
    copy = flow.clone()
    copy.tasks[0].set(queue="q")
    copy.link(add.s(5))
    assert "queue" not in flow.tasks[0].options
    assert "link" not in flow.options


def test_frozen_ids_are_kept(sides: SimpleNamespace) -> None:
    chain, group, add = (sides.ours[name] for name in ("chain", "group", "add"))
    flow = chain(add.s(1), group(add.s(2), add.s(3)), add.s(4))
    result = flow.freeze("last")
    assert result.id == "last"
    header = result.parent
    assert [member.id for member in header.results] == [
        task.options["task_id"] for task in flow.tasks[-1].header_group().tasks
    ]
    assert header.parent.id == flow.tasks[0].options["task_id"]
    again = flow.freeze()
    assert (again.id, again.parent.id, again.parent.parent.id) == ("last", header.id, header.parent.id)


def test_partials_and_immutability(sides: SimpleNamespace) -> None:
    app = sides.app

    @app.task(name="both")
    def both(*args: Any, **kwargs: Any) -> list[Any]:
        return [list(args), kwargs]

    assert both.s(2, k=1)(1, j=2) == [[1, 2], {"k": 1, "j": 2}]
    assert both.si(2)(1) == [[2], {}]
    assert both.s(2).apply((1,)).get() == [[1, 2], {}]
    assert repr(both.s(2, k="x")) == "both(2, k='x')"
