"""Tasks run in place: `apply` and `task_always_eager`."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from umbel import EagerResult, Task, Umbel, signals
from umbel.exceptions import EncodeError, Ignore


def test_apply(app: Umbel) -> None:
    @app.task(name="look", bind=True)
    def look(self: Task[..., Any], x: int, y: int = 0) -> Any:
        return x + y, self.request.is_eager, self.request.called_directly, self.request.headers, self.request.id

    result = look.apply((1,), {"y": 2}, headers={"a": 1}, task_id="i")
    assert isinstance(result, EagerResult)
    assert result.get() == (3, True, False, {"a": 1}, "i")
    assert (result.id, result.state, result.name) == ("i", "SUCCESS", "look")


def test_failures(app: Umbel) -> None:
    boom = app.task(name="boom")(lambda: 1 // 0)
    result = boom.apply()
    assert (result.state, type(result.result)) == ("FAILURE", ZeroDivisionError)
    assert "ZeroDivisionError" in (result.traceback or "")
    with pytest.raises(ZeroDivisionError):
        result.get()
    with pytest.raises(ZeroDivisionError):
        boom.apply(throw=True)
    app.conf.task_eager_propagates = True
    with pytest.raises(ZeroDivisionError):
        boom.apply()


def test_retries_happen_at_once(app: Umbel) -> None:
    tries: list[int] = []

    @app.task(name="again", bind=True, max_retries=2)
    def again(self: Task[..., Any], x: int) -> str:
        tries.append(self.request.retries)
        raise self.retry(args=(x + 1,), exc=KeyError(x), countdown=1000)

    result = again.apply((0,))
    assert tries == [0, 1, 2]
    assert (result.state, repr(result.result)) == ("FAILURE", "KeyError(2)")


def test_ignored(app: Umbel) -> None:
    def ignore() -> None:
        raise Ignore

    assert app.task(name="ignores")(ignore).apply().state == "IGNORED"


def test_always_eager(app: Umbel) -> None:
    app.conf.task_always_eager = True
    echo = app.task(name="echo")(lambda *args: args)
    moment = datetime.datetime(2030, 1, 2, tzinfo=datetime.timezone.utc)
    result = echo.delay(1, (2, 3), moment)
    # Arguments went through the serializer, as they would on their way to a worker.
    assert result.get() == (1, [2, 3], moment)
    with pytest.raises(EncodeError):
        echo.delay(object())
    assert app.client.queue_length("celery") == 0


def test_waiting_in_an_eager_task(app: Umbel) -> None:
    app.conf.task_always_eager = True
    inner = app.task(name="inner")(lambda: 1)
    outer = app.task(name="outer")(lambda: inner.delay().get())
    with pytest.raises(RuntimeError, match="within a task"):
        outer.delay().get()
    assert outer.apply().get() == 1


def test_nested_requests(app: Umbel) -> None:
    seen: list[Any] = []

    @app.task(name="inner", bind=True)
    def inner(self: Task[..., Any]) -> None:
        seen.append((self.request.parent_id, self.request.root_id))

    @app.task(name="outer", bind=True)
    def outer(self: Task[..., Any]) -> None:
        inner.apply()
        inner()
        seen.append(self.request.id)

    outer.apply(task_id="o")
    assert seen == [("o", "o"), (None, None), "o"]


def test_links_run_in_place(app: Umbel) -> None:
    seen: list[Any] = []
    app.task(name="after")(lambda *args: seen.append(args))
    task = app.task(name="first")(lambda: 5)
    task.apply(link={"task": "after", "args": [1], "kwargs": {}, "options": {}, "immutable": False})
    assert seen == [(5, 1)]


def test_results_are_stored_on_request(app: Umbel) -> None:
    @app.task(name="stores", store_eager_result=True, bind=True)
    def stores(self: Task[..., Any]) -> int:
        self.update_state(state="PROGRESS", meta=1)
        return 5

    plain = app.task(name="plain", bind=True)(lambda self: self.update_state(state="PROGRESS"))
    assert app.AsyncResult(stores.apply().id).get(timeout=5) == 5
    assert app.AsyncResult(plain.apply().id).state == "PENDING"
    assert app.AsyncResult(stores.apply(ignore_result=True).id).state == "PROGRESS"


def test_signals_and_hooks(app: Umbel) -> None:
    seen: list[str] = []

    class Hooked(app.Task):  # type: ignore[name-defined, misc]
        def on_success(self, *args: Any) -> None:
            seen.append("on_success")

        def after_return(self, status: str, *args: Any) -> None:
            seen.append(status)

    receiver = signals.task_prerun.connect(lambda **_: seen.append("prerun"))
    app.task(name="hooked", base=Hooked)(lambda: None).apply()
    signals.task_prerun.disconnect(receiver)
    assert seen == ["prerun", "on_success", "SUCCESS"]


def test_outside_a_worker_retry_raises_the_cause(app: Umbel) -> None:
    @app.task(name="direct", bind=True)
    def direct(self: Task[..., Any], exc: bool) -> None:
        raise self.retry(exc=KeyError("x") if exc else None)

    with pytest.raises(KeyError):
        direct(True)
    with pytest.raises(Exception, match="Task can be retried"):
        direct(False)
