"""Callbacks, chains and errbacks as messages from Celery carry them."""

from __future__ import annotations

from typing import Any

import pytest
from tracing import Bench

from umbel import Umbel, signals


def signature(task: str, *args: Any, immutable: bool = False, **options: Any) -> dict[str, Any]:
    return {
        "task": task,
        "args": list(args),
        "kwargs": {},
        "options": options,
        "subtask_type": None,
        "immutable": immutable,
    }


@pytest.fixture(autouse=True)
def tasks(app: Umbel) -> None:
    app.task(name="add")(lambda x, y: x + y)
    app.task(name="boom")(lambda: 1 // 0)


def sent(bench: Bench, outcome: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(message["headers"]["task"], bench.body(message)[0]) for message in outcome["publish"]]


def test_one_callback(app: Umbel, bench: Bench) -> None:
    outcome = bench.run("add", 1, 2, link=signature("add", 10, task_id="cb", queue="q"), task_id="i", root_id="r")
    assert sent(bench, outcome) == [("add", [3, 10])]
    (message,) = outcome["publish"]
    assert message["routing_key"] == "q"
    assert message["headers"]["id"] == "cb"
    assert (message["headers"]["parent_id"], message["headers"]["root_id"]) == ("i", "r")
    assert message["headers"]["group"] is None
    assert outcome["record"]["children"] == [[["cb", None], None]]


def test_several_callbacks_are_a_group(app: Umbel, bench: Bench) -> None:
    outcome = bench.run("add", 1, 2, link=[signature("add", 10), signature("unknown.here", 5, immutable=True)])
    assert sent(bench, outcome) == [("add", [3, 10]), ("unknown.here", [5])]
    first, second = (message["headers"] for message in outcome["publish"])
    assert first["group"] == second["group"] is not None
    assert (first["group_index"], second["group_index"]) == (0, 1)
    ((group, members),) = outcome["record"]["children"]
    assert group == [first["group"], None]
    assert members == [[[first["id"], None], None], [[second["id"], None], None]]


def test_the_next_step_of_a_chain(app: Umbel, bench: Bench) -> None:
    errback = signature("handler")
    steps = [signature("add", 3, task_id="third"), signature("add", 2, task_id="second", link_error=[errback])]
    outcome = bench.run("add", 1, 1, chain=steps, task_id="first")
    (message,) = outcome["publish"]
    assert message["headers"]["id"] == "second"
    args, _, embed = bench.body(message)
    assert args == [2, 2]
    assert embed["chain"] == steps[:1]
    assert embed["errbacks"] == [errback]
    last = bench.deliver(message)["publish"]
    assert [bench.body(message)[2]["chain"] for message in last] == [[]]
    assert bench.deliver(last[0])["record"]["result"] == 7


def test_callbacks_come_before_the_chain(app: Umbel, bench: Bench) -> None:
    outcome = bench.run("add", 1, 1, link=signature("add", 5), chain=[signature("add", 6)])
    assert sent(bench, outcome) == [("add", [2, 5]), ("add", [2, 6])]


def test_nothing_follows_a_failure_but_errbacks(app: Umbel, bench: Bench) -> None:
    outcome = bench.run("boom", link=signature("add", 5), chain=[signature("add", 6, task_id="step")])
    assert (outcome["state"], outcome["publish"]) == ("FAILURE", [])


def test_a_failure_is_stored_for_the_rest_of_the_chain(app: Umbel, bench: Bench) -> None:
    bench.run("boom", chain=[signature("add", 3, task_id="third"), signature("add", 2, task_id="second")])
    assert [state for state, _ in bench.link.progress] == ["FAILURE", "FAILURE"]
    for (_, record), step in zip(bench.link.progress, ("second", "third"), strict=True):
        assert record["task_id"] == step
        assert record["result"]["exc_type"] == "ZeroDivisionError"
        assert "ZeroDivisionError" in record["traceback"]


def test_a_result_that_cannot_be_passed_on(app: Umbel, bench: Bench) -> None:
    app.task(name="odd")(lambda: object())
    outcome = bench.run("odd", link=signature("add", 1), link_error=signature("handler"))
    assert outcome["state"] == "FAILURE"
    assert outcome["record"]["result"]["exc_type"] == "EncodeError"
    assert sent(bench, outcome)[0][0] == "handler"


def test_errbacks_with_several_parameters_are_called_in_place(app: Umbel, bench: Bench) -> None:
    seen: list[Any] = []

    @app.task(name="handler")
    def handler(request: Any, exc: BaseException, traceback: str, extra: int = 0) -> None:
        seen.append((request.id, type(exc), traceback.splitlines()[0], extra))

    outcome = bench.run("boom", link_error=signature("handler", 7), task_id="i")
    assert outcome["publish"] == []
    assert seen == [("i", ZeroDivisionError, "Traceback (most recent call last):", 7)]


def test_other_errbacks_are_tasks_that_get_the_id(app: Umbel, bench: Bench) -> None:
    app.task(name="old")(lambda task_id: None)
    outcome = bench.run("boom", link_error=[signature("old"), signature("unknown.here", 9)], task_id="i", root_id="r")
    assert sent(bench, outcome) == [("old", ["i"]), ("unknown.here", ["i", 9])]
    headers = outcome["publish"][0]["headers"]
    assert (headers["parent_id"], headers["root_id"]) == ("i", "r")
    assert headers["group"] == outcome["publish"][1]["headers"]["group"] is not None


def test_an_errback_that_fails(app: Umbel, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    @app.task(name="handler")
    def handler(request: Any, exc: Any, traceback: Any) -> None:
        raise KeyError("in the errback")

    outcome = bench.run("boom", link_error=signature("handler"))
    assert outcome["state"] == "FAILURE"
    assert "in the errback" in caplog.text


def test_nothing_follows_a_retry(app: Umbel, bench: Bench) -> None:
    @app.task(name="again", bind=True)
    def again(self: Any) -> None:
        raise self.retry(countdown=1)

    links = {"link": signature("add", 1), "link_error": signature("old"), "chain": [signature("add", 2)]}
    (message,) = bench.run("again", **links)["publish"]
    assert message["headers"]["task"] == "again"
    embed = bench.body(message)[2]
    assert (embed["callbacks"], embed["errbacks"], embed["chain"]) == (
        [links["link"]],
        [links["link_error"]],
        links["chain"],
    )


def test_publish_signals_of_follow_ups(app: Umbel, bench: Bench) -> None:
    seen: list[str] = []
    receiver = signals.after_task_publish.connect(lambda sender, **_: seen.append(sender))
    bench.run("add", 1, 2, link=signature("other"))
    signals.after_task_publish.disconnect(receiver)
    assert seen == ["other"]


def test_priority_is_inherited_on_request(app: Umbel, bench: Bench) -> None:
    app.conf.task_inherit_parent_priority = True
    outcome = bench.run("add", 1, 2, link=signature("add", 1), priority=6)
    assert outcome["publish"][0]["properties"]["priority"] == 6
