"""The setting `task_annotations`."""

from __future__ import annotations

from typing import Any

import pytest

from umbel import Task, Umbel


def app_with(annotations: Any) -> Umbel:
    """An application in memory with these annotations."""
    return Umbel("annotated", broker="memory://", set_as_current=False, task_annotations=annotations)


def test_attributes_of_one_and_of_all() -> None:
    app = app_with({"*": {"rate_limit": "10/s", "priority": 3}, "annotated.one": {"rate_limit": "1/s"}})
    one, other = app.task(name="annotated.one")(lambda: 0), app.task(name="annotated.other")(lambda: 0)
    app.finalize()
    assert (one.rate_limit, one.priority) == ("1/s", 3)
    assert (other.rate_limit, other.priority) == ("10/s", 3)


def test_functions_become_methods() -> None:
    seen: list[Any] = []

    def on_failure(self: Any, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        seen.append((self.name, repr(exc)))

    app = app_with({"*": {"on_failure": on_failure}})

    @app.task(name="annotated.fail")
    def fail() -> None:
        raise ValueError("no")

    fail.apply()
    assert seen == [("annotated.fail", "ValueError('no')")]


def test_around_what_is_there() -> None:
    def twice(run: Any) -> Any:
        return lambda *args: run(*args) * 2

    def louder(hook: Any) -> Any:
        return lambda self, *args: [hook(self, *args), seen.append("again")]

    seen: list[str] = []

    class Base(Task[..., Any]):
        def on_success(self, *args: Any) -> None:
            seen.append("once")

    app = app_with({"*": {"@run": twice, "@on_success": louder}})
    double = app.task(name="annotated.double", base=Base)(lambda x: x)
    bound = app.task(name="annotated.bound", base=Base, bind=True)(lambda self, x: x + 1)
    assert double.apply((3,)).get() == 6
    assert seen == ["once", "again"]
    app = app_with({"annotated.bound": {"@run": lambda run: lambda self, x: run(self, x) * 2}})
    bound = app.task(name="annotated.bound", bind=True)(lambda self, x: x + 1)
    assert bound.apply((3,)).get() == 8


def test_retries_by_annotation() -> None:
    app = app_with({"annotated.flaky": {"autoretry_for": (OSError,), "default_retry_delay": 0}})
    tries: list[int] = []

    @app.task(name="annotated.flaky", bind=True)
    def flaky(self: Any) -> int:
        tries.append(self.request.retries)
        if len(tries) < 3:
            raise OSError("no answer")
        return len(tries)

    app.finalize()
    assert flaky.apply().get() == 3
    assert tries == [0, 1, 2]


class ByName:
    """An annotation as Celery's guide has it."""

    def annotate(self, task: Any) -> dict[str, Any] | None:
        return {"time_limit": 7} if task.name.endswith("one") else None


@pytest.mark.parametrize("entry", [ByName(), ByName, f"{__name__}:ByName"])
def test_objects_and_the_first_that_has_something(entry: Any) -> None:
    app = app_with([entry, {"annotated.one": {"time_limit": 9}, "annotated.other": {"time_limit": 9}}])
    one, other = app.task(name="annotated.one")(lambda: 0), app.task(name="annotated.other")(lambda: 0)
    app.finalize()
    assert (one.time_limit, other.time_limit) == (7, 9)


def test_tasks_registered_later_are_annotated_once() -> None:
    app = app_with({"*": {"@run": lambda run: lambda *args: [*run(*args), "around"]}})
    early = app.task(name="annotated.early")(lambda: ["early"])
    app.finalize()
    late = app.task(name="annotated.late")(lambda: ["late"])
    assert early.apply().get() == ["early", "around"]
    assert late.apply().get() == ["late", "around"]


def test_what_is_sent_follows() -> None:
    app = app_with({"annotated.one": {"queue": "elsewhere", "priority": 9}})
    one = app.task(name="annotated.one")(lambda: 0)
    message = app.sender.prepare(one.name, (), {}, {}, one).message
    assert message["routing_key"] == "elsewhere"
    assert message["properties"]["priority"] == 9
