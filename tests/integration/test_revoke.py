"""Revoking tasks, and the rest of remote control, on SQLite and on Redis."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from apps import basic
from apps.basic import notes
from servers.stack import PATIENCE
from servers.worker_process import StartWorker, urls, wait_until

from umbel import Umbel, states
from umbel.exceptions import TaskRevokedError, TimeLimitExceeded
from umbel.result.group_result import ResultSet
from umbel.testing import start_worker as start_worker_here


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty broker."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/umbel.sqlite3"
    found: str = request.getfixturevalue("redis_url")
    return found


@pytest.fixture
def app(url: str) -> Umbel:
    return basic.build(broker_url=url, result_backend=url)


def test_a_revocation_waits_for_workers_that_start_later(
    app: Umbel, url: str, start_worker: StartWorker, tmp_path: Path
) -> None:
    path = str(tmp_path / "notes")
    note = app.tasks["basic.note"]
    one, two, other = (note.delay(path, text) for text in ("one", "two", "other"))
    one.revoke()
    app.control.revoke([two.id])
    assert app.control.revoked() == sorted([one.id, two.id])
    worker = start_worker("-c", "1", "-n", "first", env=urls(url))
    for result in (one, two):
        with pytest.raises(TaskRevokedError, match="revoked"):
            result.get(timeout=PATIENCE)
        assert result.state == states.REVOKED
    assert other.get(timeout=PATIENCE) == "other"
    worker.wait_for(rf"Discarding revoked task: basic\.note\[{one.id}\]")
    worker.stop()

    again = note.apply_async((path, "again"), task_id=one.id)
    start_worker("-c", "1", "-n", "second", env=urls(url)).wait_for(rf"Discarding revoked task: .*{again.id}")
    assert notes(path) == ["other"]


def test_what_a_worker_holds_ends_at_once(app: Umbel, url: str, start_worker: StartWorker, tmp_path: Path) -> None:
    until = str(tmp_path / "until")
    start_worker("-c", "1", env=urls(url)).wait_ready()
    running = app.tasks["basic.hold"].delay(str(tmp_path / "held"), until)
    wait_until(lambda: notes(tmp_path / "held") != [], PATIENCE, "the task runs")
    behind = app.tasks["basic.add"].delay(1, 1)
    due = app.tasks["basic.add"].apply_async((2, 2), countdown=2.5)
    for result in (behind, due, running):
        result.revoke()
    for result in (behind, due):
        with pytest.raises(TaskRevokedError):
            result.get(timeout=PATIENCE)
    Path(until).touch()
    assert running.get(timeout=PATIENCE) == "held", "it ran already and was not to be terminated"


@pytest.mark.parametrize("name", ["SIGTERM", "kill"])
def test_a_running_task_is_terminated(
    app: Umbel, url: str, start_worker: StartWorker, tmp_path: Path, name: str
) -> None:
    held = tmp_path / "held"
    worker = start_worker("-c", "1", "-n", "one", env=urls(url)).wait_ready()
    running = app.tasks["basic.hold"].delay(str(held), str(tmp_path / "never"))
    wait_until(lambda: notes(held) != [], PATIENCE, "the task runs")
    answers = app.control.revoke(running.id, terminate=True, signal=name, reply=True, limit=1, timeout=PATIENCE)
    assert [list(answer.values()) for answer in answers or []] == [[{"ok": f"terminate: {running.id}"}]]
    with pytest.raises(TaskRevokedError, match="terminated"):
        running.get(timeout=PATIENCE)
    worker.wait_for(rf"Task basic\.hold\[{running.id}\] was revoked and terminated")
    assert app.tasks["basic.add"].delay(1, 1).get(timeout=PATIENCE) == 2, "its child was replaced"
    assert len(notes(held)) == 1, "it is not run again"


def test_workers_answer(app: Umbel, url: str, start_worker: StartWorker) -> None:
    workers = [start_worker("-c", "1", "-n", name, env=urls(url)).wait_ready() for name in ("one@here", "two@here")]
    pong = {"ok": "pong"}
    answers = app.control.ping(timeout=PATIENCE, limit=2)
    assert sorted(answers, key=str) == [{"one@here": pong}, {"two@here": pong}]
    assert app.control.ping(destination=["two@here"], timeout=PATIENCE) == [{"two@here": pong}]
    by_pattern = app.control.ping(pattern="one*", matcher="glob", timeout=PATIENCE, limit=1)
    assert by_pattern == [{"one@here": pong}]
    one = ["one@here"]

    def ask(command: str, **arguments: object) -> object:
        answers = app.control.broadcast(command, arguments, destination=one, reply=True, timeout=PATIENCE)
        return (answers or [{}])[0].get("one@here")

    assert ask("nonesuch") == {"error": "KeyError('nonesuch')"}
    assert ask("revoke", task_id="some-id") == {"ok": "tasks {'some-id'} flagged as revoked"}
    assert ask("revoke", task_id=["a", "b"], terminate=True) == {"ok": "terminate: tasks unknown"}
    assert ask("terminate", task_id="a", signal="nosuch") == {"error": "ValueError(\"there is no signal 'nosuch'\")"}
    assert ask("time_limit", task_name="basic.none", hard=1) == {"error": "unknown task"}
    assert ask("revoke") == {"error": "TypeError(\"revoke() missing 1 required positional argument: 'task_id'\")"}
    workers[0].wait_for(r"No such remote control command: 'nonesuch'")
    known = ask("hello", from_node="celery@other", revoked=["from-celery"])
    assert isinstance(known, dict)
    assert set(known["revoked"]) == {"a", "b", "some-id", "from-celery"}
    assert known["clock"] > 0
    assert ask("hello", from_node="one@here", revoked={}) is None
    wait_until(lambda: "from-celery" in app.control.revoked(), PATIENCE, "what Celery's worker knew is kept")


def test_time_limits_can_be_changed(app: Umbel, url: str, start_worker: StartWorker) -> None:
    start_worker("-c", "1", env=urls(url)).wait_ready()
    answers = app.control.time_limit("basic.sleep", hard=0.3, reply=True, limit=1, timeout=PATIENCE)
    assert [list(answer.values()) for answer in answers or []] == [[{"ok": "time limits set successfully"}]]
    with pytest.raises(TimeLimitExceeded):
        app.tasks["basic.sleep"].delay(60).get(timeout=PATIENCE)


def test_a_worker_in_this_process(tmp_path: Path) -> None:
    app = basic.build(broker_url="memory://revoke", result_backend="memory://revoke")
    until = str(tmp_path / "until")
    with start_worker_here(app, concurrency=1):
        running = app.tasks["basic.hold"].delay(str(tmp_path / "held"), until)
        wait_until(lambda: notes(tmp_path / "held") != [], PATIENCE, "the task runs")
        results = ResultSet([app.tasks["basic.add"].delay(number, 0) for number in range(3)])
        results.revoke(wait=True, timeout=0.3)
        for result in results.results:
            with pytest.raises(TaskRevokedError):
                result.get(timeout=PATIENCE)
        running.revoke(terminate=True, signal=signal.SIGKILL, wait=True, timeout=0.2)
        Path(until).touch()
        assert running.get(timeout=PATIENCE) == "held", "nothing can end a thread"
    app.close()
