"""The request."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from umbel import Umbel
from umbel.task import Context, Task

celery_task = pytest.importorskip("celery.app.task", reason="the peer of the comparison")

HEADERS: dict[str, Any] = {"lang": "py", "task": "t", "id": "i", "retries": 2, "timelimit": [9, 8], "parent_id": "p"}


def of_job(headers: dict[str, Any], **properties: Any) -> Context:
    facts = {"group": None, "parent_id": None, "retries": 0, "ignore_result": None}
    job: Any = SimpleNamespace(
        **{name: headers.get(name, default) for name, default in {"id": "", "task": "", **facts}.items()},
        headers=headers,
        properties={"reply_to": "r", "correlation_id": "c", **properties},
        delivery_info={"exchange": "", "routing_key": "celery", "priority": 0, "redelivered": False},
    )
    return Context.of_job(job, [1], {"k": 2}, "node")


def test_every_field_of_celery_is_there() -> None:
    missing = [name for name in vars(celery_task.Context) if not name.startswith("_") and not hasattr(Context(), name)]
    assert not missing


def test_fields_of_a_message() -> None:
    request = of_job(HEADERS)
    assert (request.id, request.task, request.retries, request.parent_id, request.root_id) == ("i", "t", 2, "p", None)
    assert (request.args, request.kwargs, request.hostname) == ([1], {"k": 2}, "node")
    assert (request.reply_to, request.correlation_id) == ("r", "c")
    assert (request.time_limit, request.soft_time_limit) == (9, 8)
    assert request.delivery_info["routing_key"] == "celery"
    assert request.headers is None
    assert (request.called_directly, request.is_eager) == (False, False)
    assert request.get("retries") == 2
    assert request.get("nonsense", "default") == "default"


def test_custom_headers() -> None:
    request = of_job({**HEADERS, "x-trace": "abc", "tenant": 1})
    assert request.headers == {"x-trace": "abc", "tenant": 1}
    assert request.tenant == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["reported", "link", "job", "headers", "called_directly", "callbacks", "_children"])
def test_a_custom_header_replaces_nothing_else(name: str) -> None:
    plain, request = of_job(HEADERS), of_job({**HEADERS, name: "evil"})
    if name not in ("headers", "job"):
        assert getattr(request, name) == getattr(plain, name)
    assert request.job is not None
    assert request.job != "evil"
    assert request.headers == {name: "evil"}


def test_what_a_task_sets_stays_whatever_is_read_later() -> None:
    request = of_job({**HEADERS, "eta": "2026-01-01T00:00:00", "tenant": 1})
    request.retries = 7
    request.update(tenant=2)
    assert request.eta == "2026-01-01T00:00:00"
    assert (request.retries, request.tenant) == (7, 2)  # type: ignore[attr-defined]
    assert "'parent_id': 'p'" in repr(request)


def test_headers_are_read_when_one_of_them_is_asked_for() -> None:
    request = of_job({**HEADERS, "tenant": 1})
    assert (request.id, request.retries, request.ignore_result) == ("i", 2, None)
    assert "timelimit" not in vars(request)
    assert request.timelimit == [9, 8]
    assert vars(request)["tenant"] == 1
    with pytest.raises(AttributeError, match="no field 'nonsense'"):
        request.nonsense  # noqa: B018


def test_sending_it_again() -> None:
    options = of_job({**HEADERS, "x-death": [1], "redelivered": True, "x-trace": "abc"}).as_execution_options()
    assert options["headers"] == {"x-trace": "abc"}
    assert (options["task_id"], options["time_limit"], options["soft_time_limit"]) == ("i", 9, 8)
    stamped = of_job({**HEADERS, "stamped_headers": ["a"], "stamps": {"a": 1, "b": 2}}).as_execution_options()
    assert (stamped["stamped_headers"], stamped["a"], "b" in stamped) == (["a"], 1, False)


def test_a_task_that_does_not_run_has_an_empty_request() -> None:
    task: Task[..., Any] = Task()
    assert (task.request.id, task.request.called_directly, task.request.delivery_info) == (None, True, None)
    task.push_request(id="x", args=(1,))
    assert task.request.id == "x"
    task.push_request(id="y")
    assert task.request.id == "y"
    task.pop_request()
    assert task.request.id == "x"
    task.pop_request()
    assert task.request.id is None


def test_fields_can_be_changed() -> None:
    request = Context({"id": "x"}, args=(1,))
    request.update(id="y")
    assert (request.id, request.args) == ("y", (1,))
    assert "'id': 'y'" in repr(request)
    request.clear()
    assert request.id is None
    assert request.children == []


def test_a_signature_of_the_request() -> None:
    app = Umbel(broker="memory://", set_as_current=False)

    @app.task(name="add")
    def add(x: int, k: int = 0) -> int:
        return x + k

    request = of_job({**HEADERS, "stamps": {}, "root_id": "root", "group": "g"})
    same = add.signature_from_request(request, countdown=5)
    assert (same.task, same.args, same.kwargs) == ("add", (1,), {"k": 2})
    wanted = {"task_id": "i", "root_id": "root", "queue": "celery", "countdown": 5, "time_limit": 9, "retries": 2}
    assert {name: same.options[name] for name in wanted} == wanted
    other = add.subtask_from_request(request, args=(7,), kwargs={}, queue="elsewhere")
    assert (other.args, other.kwargs, other.options["queue"]) == ((7,), {}, "elsewhere")
