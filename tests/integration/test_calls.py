"""A call, its result and its states, on every broker."""

from __future__ import annotations

import asyncio
import datetime
import time
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from apps.basic import OwnError, notes
from servers.stack import PATIENCE, Stack, in_processes
from servers.worker_process import wait_until

from umbel import Umbel, states
from umbel.exceptions import EncodeError, NotRegistered, TaskRevokedError
from umbel.exceptions import TimeoutError as ResultTimeoutError


def test_delay_and_get(app: Umbel) -> None:
    result = app.tasks["basic.add"].delay(2, 3)
    assert result.get(timeout=PATIENCE) == 5
    assert result.state == states.SUCCESS
    assert result.successful()


def test_many_at_once(app: Umbel) -> None:
    add = app.tasks["basic.add"]
    results = [add.delay(number, 1) for number in range(300)]
    assert [result.get(timeout=PATIENCE) for result in results] == list(range(1, 301))


def test_arguments_arrive_as_they_were(app: Umbel) -> None:
    moment = datetime.datetime(2030, 1, 2, 3, 4, 5, 6000, tzinfo=datetime.timezone.utc)
    values = [1, -(2**80), 1.5, "é \U0001f600 \x00", None, True, b"\xff\x00", Decimal("1.10"), uuid.UUID(int=5), moment]
    keywords = {"nested": {"a": [1, {"b": None}]}, "day": datetime.date(2030, 1, 2)}
    args, kwargs = app.tasks["basic.echo"].delay(*values, **keywords).get(timeout=PATIENCE)
    assert args == values
    assert kwargs == keywords


def test_async_tasks(app: Umbel) -> None:
    assert app.tasks["basic.aadd"].delay(2, 3).get(timeout=PATIENCE) == 5


def test_await_from_asyncio(app: Umbel) -> None:
    async def run() -> list[Any]:
        add = app.tasks["basic.add"]
        pending = [await add.adelay(number, 1) for number in range(20)]
        return await asyncio.gather(*pending)

    assert asyncio.run(asyncio.wait_for(run(), PATIENCE)) == list(range(1, 21))


def test_the_request_tells_where_it_runs(stack: Stack) -> None:
    found = stack.app.tasks["basic.request"].apply_async(headers={"x-trace": "abc"}).get(timeout=PATIENCE)
    assert found["headers"] == {"x-trace": "abc"}
    assert found["queue"] == "celery"
    assert found["retries"] == 0
    assert found["redelivered"] is False
    if stack.worker is not None:
        assert found["hostname"].startswith(f"{stack.kind}@")
        assert found["pid"] in stack.worker.task_children(2)


def test_a_failure_is_raised_as_it_was(app: Umbel) -> None:
    fail = app.tasks["basic.fail"]
    with pytest.raises(OwnError) as caught:
        fail.delay("own", "broken", 7).get(timeout=PATIENCE)
    assert caught.value.args == ("broken", 7)
    result = fail.delay("key", "missing")
    with pytest.raises(KeyError):
        result.get(timeout=PATIENCE)
    assert result.state == states.FAILURE
    assert "KeyError: 'missing'" in result.traceback
    assert isinstance(result.get(timeout=PATIENCE, propagate=False), KeyError)


def test_sys_exit_in_a_task_is_a_failure_and_the_child_goes_on(app: Umbel) -> None:
    results = [app.tasks["basic.fail"].delay("exit", 3) for _ in range(4)]
    for result in results:
        with pytest.raises(SystemExit):
            result.get(timeout=PATIENCE)
        assert result.state == states.FAILURE
    assert app.tasks["basic.add"].delay(1, 1).get(timeout=PATIENCE) == 2


def test_a_task_that_returns_what_json_cannot_hold_fails(app: Umbel) -> None:
    result = app.tasks["basic.unserializable"].delay()
    with pytest.raises(EncodeError):
        result.get(timeout=PATIENCE)


def test_ignored_results_are_not_stored(app: Umbel, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    result = app.tasks["basic.silent"].delay(str(path))
    wait_until(lambda: notes(path), PATIENCE, "the task")
    add = app.tasks["basic.add"].delay(1, 1)
    add.get(timeout=PATIENCE)
    assert app.AsyncResult(result.id).state == states.PENDING
    each = app.tasks["basic.add"].apply_async((1, 1), ignore_result=True)
    app.tasks["basic.add"].delay(1, 1).get(timeout=PATIENCE)
    assert app.AsyncResult(each.id).state == states.PENDING


def test_ignore_stores_nothing(app: Umbel, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    result = app.tasks["basic.ignored"].delay(str(path))
    wait_until(lambda: notes(path), PATIENCE, "the task")
    with pytest.raises(ResultTimeoutError):
        result.get(timeout=0.2)
    assert result.state == states.PENDING


def test_custom_states_and_their_details(app: Umbel, tmp_path: Path) -> None:
    until = tmp_path / "go"
    result = app.tasks["basic.progress"].delay(str(until))
    wait_until(lambda: result.state == "PROGRESS", PATIENCE, "PROGRESS")
    assert result.info == {"done": 1}
    until.touch()
    assert result.get(timeout=PATIENCE) == "complete"


def test_started_is_stored_when_wanted(app: Umbel, tmp_path: Path) -> None:
    until = tmp_path / "go"
    result = app.tasks["basic.tracked"].delay(str(until))
    wait_until(lambda: result.state == states.STARTED, PATIENCE, "STARTED")
    assert result.info["pid"] > 0
    until.touch()
    assert result.get(timeout=PATIENCE) == "complete"


def test_a_result_is_forgotten(app: Umbel) -> None:
    result = app.tasks["basic.add"].delay(1, 1)
    result.get(timeout=PATIENCE)
    result.forget()
    assert app.AsyncResult(result.id).state == states.PENDING


def test_get_gives_up_in_time(app: Umbel) -> None:
    start = time.monotonic()
    with pytest.raises(ResultTimeoutError):
        app.AsyncResult(str(uuid.uuid4())).get(timeout=0.2)
    assert time.monotonic() - start < 5


def test_an_expired_task_does_not_run(app: Umbel, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    result = app.tasks["basic.note"].apply_async((str(path), "late"), expires=time_ago(), retry=False)
    with pytest.raises(TaskRevokedError):
        result.get(timeout=PATIENCE)
    assert result.state == states.REVOKED
    assert notes(path) == []


def time_ago() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(minutes=1)


@pytest.mark.parametrize("delay", [0.3, 3.0])
def test_countdown(app: Umbel, tmp_path: Path, delay: float) -> None:
    path = tmp_path / "notes"
    start = time.time()
    app.tasks["basic.timed"].apply_async((str(path),), countdown=delay).get(timeout=PATIENCE)
    ran = float(notes(path)[0])
    assert delay - 0.05 <= ran - start < delay + 2


def test_eta(app: Umbel, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    due = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=0.5)
    app.tasks["basic.timed"].apply_async((str(path),), eta=due).get(timeout=PATIENCE)
    assert due.timestamp() - 0.05 <= float(notes(path)[0]) < due.timestamp() + 2


@pytest.mark.parametrize("serializer", ["json", "msgpack", "yaml", "pickle"])
def test_serializers(app: Umbel, serializer: str) -> None:
    result = app.tasks["basic.add"].apply_async((["a"], ["b"]), serializer=serializer)
    assert result.get(timeout=PATIENCE) == ["a", "b"]


@pytest.mark.parametrize("compression", ["zlib", "gzip", "bzip2", "zstd"])
def test_compression(app: Umbel, compression: str) -> None:
    big = "z" * 200_000
    result = app.tasks["basic.add"].apply_async((big, big), compression=compression)
    assert result.get(timeout=PATIENCE) == big + big


def test_a_large_message_and_result(app: Umbel) -> None:
    big = "é" * 1_000_000
    assert app.tasks["basic.add"].delay(big, "!").get(timeout=PATIENCE) == big + "!"


def test_send_task_by_name(app: Umbel) -> None:
    assert app.send_task("basic.add", (1, 2)).get(timeout=PATIENCE) == 3


def test_an_unknown_task_is_kept_with_its_reason(app: Umbel) -> None:
    result = app.send_task("basic.unheard_of", (1,))
    with pytest.raises(NotRegistered):
        result.get(timeout=PATIENCE)
    letter = wait_until(lambda: letter_of(app, result.id), PATIENCE, "a dead letter")
    assert "basic.unheard_of" in letter["reason"]


def letter_of(app: Umbel, task_id: str) -> Any:
    """The dead letter of a task, if there is one."""
    return next((found for found in app.client.dead_letters() if (found["headers"] or {}).get("id") == task_id), None)


def test_reject_without_requeue_goes_to_the_dead_letters(app: Umbel, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    result = app.tasks["basic.reject"].delay(str(path), False)
    letter = wait_until(lambda: letter_of(app, result.id), PATIENCE, "a dead letter")
    assert "not today" in letter["reason"]
    assert app.client.dead_replay([letter["id"]]) == 1
    wait_until(lambda: app.AsyncResult(result.id).state == states.SUCCESS, PATIENCE, "the replayed task")
    assert letter_of(app, result.id) is None


def test_reject_with_requeue_runs_again(app: Umbel, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    assert app.tasks["basic.reject"].delay(str(path), True).get(timeout=PATIENCE) == "second time"
    assert len(notes(path)) == 1


def test_retry(app: Umbel, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    assert app.tasks["basic.retry"].delay(str(path), 3).get(timeout=PATIENCE) == 3
    assert [line.split()[0] for line in notes(path)] == ["0", "1", "2", "3"]


def test_retry_waits_for_its_countdown(app: Umbel, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    assert app.tasks["basic.retry"].delay(str(path), 1, 0.5).get(timeout=PATIENCE) == 1
    first, second = (float(line.split()[1]) for line in notes(path))
    assert 0.45 <= second - first < 3


def test_retries_end(app: Umbel) -> None:
    with pytest.raises(OwnError, match="still broken"):
        app.tasks["basic.give_up"].delay().get(timeout=PATIENCE)


def test_autoretry_with_backoff(app: Umbel, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    assert app.tasks["basic.auto"].delay(str(path), 1).get(timeout=PATIENCE) == 1
    first, second = (float(line.split()[1]) for line in notes(path))
    assert 0.95 <= second - first < 3


def test_autoretry_ends_in_its_error(app: Umbel, tmp_path: Path) -> None:
    with pytest.raises(OwnError, match="try 1"):
        app.tasks["basic.auto"].delay(str(tmp_path / "notes"), 99).get(timeout=PATIENCE)


@in_processes
def test_closed_streams_do_no_harm(stack: Stack) -> None:
    app = stack.app
    assert app.tasks["basic.close_streams"].delay().get(timeout=PATIENCE) == "closed"
    results = [app.tasks["basic.log"].delay("after") for _ in range(4)]
    assert [result.get(timeout=PATIENCE) for result in results] == [None] * 4
    assert stack.worker is not None
    stack.worker.wait_for(r"basic\.close_streams\[[-0-9a-f]+\]: streams are closed")
