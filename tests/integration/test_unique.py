"""Unique and debounced tasks, on every broker."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from apps.basic import note, notes
from servers.stack import PATIENCE
from servers.worker_process import wait_until

from umbel import Umbel, states
from umbel.exceptions import DuplicateTaskError, ImproperlyConfigured, TaskRevokedError
from umbel.testing import assert_enqueued, drain, enqueued, start_worker


@pytest.fixture
def app(empty_url: str) -> Umbel:
    """An app on an empty broker."""
    return Umbel("unique", broker_url=empty_url, result_backend=empty_url, set_as_current=False)


Define = Callable[..., Any]


@pytest.fixture
def define(app: Umbel, tmp_path: Path) -> Define:
    """Defines a task that notes its first argument."""

    def define(**options: Any) -> Any:
        @app.task(name="unique.task", **{"unique": True, **options})
        def task(what: Any, more: Any = None) -> Any:
            note(str(tmp_path / "notes"), f"{what} {more}")
            return what

        return task

    return define


def test_one_is_sent_until_it_has_ended(app: Umbel, define: Define, tmp_path: Path) -> None:
    task = define()
    first = task.delay(1)
    again = task.apply_async(kwargs={"what": 1, "more": None})
    assert again.id == first.id, "the same arguments, however they are given"
    other = task.delay(2)
    assert other.id != first.id
    many = task.apply_async_many([(1,), (3,), (3,)])
    assert many[0].id == first.id
    assert many[1].id == many[2].id
    assert_enqueued(task, count=3)
    drain(app)
    assert sorted(notes(tmp_path / "notes")) == ["1 None", "2 None", "3 None"]
    assert again.get(timeout=PATIENCE) == 1
    wait_until(lambda: task.delay(1).id != first.id, PATIENCE, "its lock is given up")


def test_a_failed_or_revoked_one_keeps_nobody_out(app: Umbel) -> None:
    @app.task(name="unique.fails", unique=True, unique_on_duplicate="raise")
    def fails() -> None:
        raise ValueError("no")

    with start_worker(app):
        with pytest.raises(ValueError, match="no"):
            fails.delay().get(timeout=PATIENCE)
        later: list[Any] = []

        def sent() -> bool:
            try:
                later.append(fails.apply_async(countdown=3600))
            except DuplicateTaskError:
                return False
            return True

        wait_until(sent, PATIENCE, "the failed one's lock is given up")
        with pytest.raises(
            DuplicateTaskError, match=rf"unique\.fails is unique, and {later[0].id} is the same"
        ) as caught:
            fails.delay()
        assert (caught.value.task, caught.value.task_id) == ("unique.fails", later[0].id)


def test_a_retry_keeps_its_lock(app: Umbel) -> None:
    @app.task(name="unique.retries", bind=True, unique=True, max_retries=1)
    def retries(self: Any) -> int:
        if self.request.retries == 0:
            raise self.retry(countdown=1)
        return 2

    with start_worker(app):
        result = retries.delay()
        wait_until(lambda: result.state == states.RETRY, PATIENCE, "it is to be retried")
        assert retries.delay().id == result.id
        assert result.get(timeout=PATIENCE) == 2


@pytest.mark.parametrize("key", [["what"], lambda what, more=None: f"key of {what}"], ids=["names", "function"])
def test_what_counts_can_be_chosen(app: Umbel, define: Define, key: Any) -> None:
    task = define(unique_key=key)
    assert task.delay(1, "a").id == task.delay(1, "b").id
    assert task.delay(2, "a").id != task.delay(1, "a").id
    assert_enqueued(task, count=2)


def test_until_it_starts(app: Umbel, tmp_path: Path) -> None:
    go = tmp_path / "go"

    @app.task(name="unique.starts", unique=True, unique_until="start")
    def starts() -> None:
        note(str(tmp_path / "notes"), "started")
        while not go.exists():
            time.sleep(0.01)

    with start_worker(app):
        first = starts.delay()
        wait_until(lambda: notes(tmp_path / "notes") != [], PATIENCE, "it starts")
        wait_until(lambda: starts.delay().id != first.id, PATIENCE, "its lock is given up at its start")
        go.touch()
        first.get(timeout=PATIENCE)


def test_for_a_window(app: Umbel, define: Define) -> None:
    task = define(unique_until="window", unique_for=1.0)
    first = task.delay(1)
    drain(app)
    assert first.state == states.SUCCESS
    assert task.delay(1).id == first.id, "it has ended, the window has not"
    wait_until(lambda: task.delay(1).id != first.id, PATIENCE, "the window is over")


def test_the_last_one_counts(app: Umbel, define: Define, tmp_path: Path) -> None:
    task = define(unique_key=["what"], unique_on_duplicate="replace")
    first, second = task.delay(1, "old"), task.delay(1, "new")
    assert first.id != second.id
    drain(app)
    assert notes(tmp_path / "notes") == ["1 new"]
    with pytest.raises(TaskRevokedError):
        first.get(timeout=PATIENCE)


def test_debounced_calls_run_once(app: Umbel, define: Define, tmp_path: Path) -> None:
    task = define(unique=False, debounce=0.5, unique_key=["what"])
    with start_worker(app):
        results = [task.delay("search", text) for text in ("h", "he", "hel", "hello")]
        assert results[-1].get(timeout=PATIENCE) == "search"
        with pytest.raises(TaskRevokedError):
            results[0].get(timeout=PATIENCE)
        assert task.delay("search", "again").get(timeout=PATIENCE) == "search", "what starts later is another one"
    assert notes(tmp_path / "notes") == ["search hello", "search again"]


def test_members_of_workflows_are_sent_all_the_same(app: Umbel, define: Define) -> None:
    from umbel.canvas import group

    task = define()
    with start_worker(app, concurrency=2):
        assert group(task.s(1), task.s(1), app=app).apply_async().get(timeout=PATIENCE) == [1, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unique_until": "ever"}, "unique_until is one of end, start, window, not 'ever'"),
        ({"unique_on_duplicate": "drop"}, "unique_on_duplicate is one of existing, raise, replace"),
        ({"unique_for": 0}, "unique_for takes seconds above 0"),
    ],
)
def test_options_that_are_none(define: Define, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=message):
        define(**options).delay(1)


def test_a_key_that_names_no_parameter(app: Umbel, define: Define) -> None:
    with pytest.raises(TypeError, match=r"unique_key of unique\.task names no parameter: which"):
        define(unique_key=["which"]).delay(1)
    assert enqueued(app) == []
