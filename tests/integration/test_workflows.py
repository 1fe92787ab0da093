"""Workflows on each broker: how they end when a member cannot say so itself, large ones, and leftovers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from apps.basic import notes
from servers.stack import PATIENCE, Stack, in_processes
from servers.worker_process import wait_until

from umbel import Umbel, chain, chord, group, signature
from umbel.exceptions import ChordError


def revoked(app: Umbel, sig: Any) -> Any:
    """The same, which no worker will run."""
    app.control.revoke(sig.freeze().id, reply=True, limit=1, timeout=PATIENCE)
    return sig


#: Members that end without a word, and what the chord says of them.
ENDS: dict[str, tuple[Callable[[Umbel, Path], Any], str]] = {
    "hard limit": (lambda app, _: app.tasks["basic.sleep"].s(60).set(time_limit=0.3), "TimeLimitExceeded"),
    "killed": (lambda app, path: app.tasks["basic.die"].s(str(path), 99).set(), "WorkerLostError"),
    "expired": (lambda app, _: app.tasks["basic.add"].s(1, 1).set(expires=-1), "TaskRevokedError"),
    "unknown": (lambda app, _: signature("nobody.knows", app=app), "is not registered"),
    "rejected": (lambda app, path: app.tasks["basic.reject"].s(str(path), False), "not today"),
    "ignored": (lambda app, path: app.tasks["basic.ignored"].s(str(path)), "Ignore"),
    "unserializable": (lambda app, _: app.tasks["basic.unserializable"].s(), "EncodeError"),
    "revoked": (lambda app, _: revoked(app, app.tasks["basic.add"].s(1, 1)), r"TaskRevokedError\('revoked'\)"),
    "an earlier step": (lambda app, _: app.tasks["basic.fail"].s("key", "x") | app.tasks["basic.add"].s(1), "KeyError"),
}


@in_processes
@pytest.mark.parametrize("end", ENDS)
def test_a_chord_hears_of_every_end(stack: Stack, tmp_path: Path, end: str) -> None:
    app = stack.app
    make, told = ENDS[end]
    add, echo = app.tasks["basic.add"], app.tasks["basic.echo"]
    body = echo.s().on_error(app.tasks["basic.note"].si(str(tmp_path / "errbacks"), "called"))
    result = (chord([add.s(1, 1), make(app, tmp_path / "notes")], body) | add.s(1)).apply_async()
    with pytest.raises(ChordError, match=told):
        result.get(timeout=PATIENCE, follow_parents=False)
    assert result.state == "FAILURE"
    wait_until(lambda: notes(tmp_path / "errbacks") != [], PATIENCE, "the errback")
    assert len(notes(tmp_path / "errbacks")) == 1


@in_processes
def test_later_steps_hear_of_a_lost_process(stack: Stack, tmp_path: Path) -> None:
    add = stack.app.tasks["basic.add"]
    flow = chain(stack.app.tasks["basic.sleep"].s(60).set(time_limit=0.3), add.s(1), add.s(2))
    last = flow.apply_async()
    with pytest.raises(Exception, match=r"0\.3"):
        last.get(timeout=PATIENCE, follow_parents=False)
    assert last.parent.state == "FAILURE"


def test_a_chord_of_many(app: Umbel) -> None:
    add, echo = app.tasks["basic.add"], app.tasks["basic.echo"]
    result = chord((add.s(number, 0) for number in range(300)), echo.s()).apply_async()
    assert result.get(timeout=60, follow_parents=False) == [[list(range(300))], {}]


def test_a_long_chain(app: Umbel) -> None:
    add = app.tasks["basic.add"]
    assert chain([add.s(0, 0), *(add.s(1) for _ in range(100))]).apply_async().get(timeout=60) == 100


def test_a_group_of_many(app: Umbel) -> None:
    add = app.tasks["basic.add"]
    result = group(add.s(number, 1) for number in range(2500)).apply_async()
    assert result.get(timeout=60) == [number + 1 for number in range(2500)]


def test_nested_chords(app: Umbel) -> None:
    add, echo = app.tasks["basic.add"], app.tasks["basic.echo"]
    flow = echo.s()
    for _ in range(10):
        flow = chord([add.si(number, 0) for number in range(4)], flow)
    assert flow.apply_async().get(timeout=60, follow_parents=False) == [[[0, 1, 2, 3]], {}]


@pytest.mark.parametrize("stack", ["redis"], indirect=True, scope="session")
def test_every_key_of_a_chord_goes(stack: Stack, redis_server: Any) -> None:
    redis = pytest.importorskip("redis")
    server = redis.Redis.from_url(stack.url)
    add, echo = stack.app.tasks["basic.add"], stack.app.tasks["basic.echo"]
    done = chord([add.s(1, 1), add.s(2, 2)], echo.s()).apply_async()
    failed = chord([add.s(1, 1), stack.app.tasks["basic.fail"].s("key", "x")], echo.s()).apply_async()
    assert done.get(timeout=PATIENCE) == [[[2, 4]], {}]
    with pytest.raises(ChordError):
        failed.get(timeout=PATIENCE, follow_parents=False)
    kept = {
        result.parent.id: sorted(
            key.decode().rpartition(".")[2] for key in server.keys(f"celery-taskset-meta-{result.parent.id}.*")
        )
        for result in (done, failed)
    }
    assert kept[done.parent.id] == ["c"], "what was joined is gone, the claim stays against late copies"
    assert "s" not in kept[failed.parent.id]
    for key in server.keys("celery-taskset-meta-*"):
        assert server.ttl(key) > 0, key
