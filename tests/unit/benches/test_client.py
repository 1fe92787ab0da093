"""The measuring side, on a library that runs its tasks at once, and on ones that do it wrong."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from benches import client, library
from benches.client import measure
from benches.library import Library, drive, run, run_clients
from benches.tally import Tally


class Immediate:
    """Runs a task when it is sent. `value` and `lost` say what it does wrong."""

    def __init__(self, tally: Tally, coroutines: bool = False) -> None:
        self.coroutines = coroutines
        self.tally = tally
        self.value: Callable[[Any], Any] = lambda value: value
        self.lost: set[int] = set()

    async def open(self) -> None:
        pass

    async def send(self, task: str, *args: Any) -> Any:
        if self.coroutines:
            await asyncio.sleep(0)
        if task == "stamp":
            self.tally.add()
            return [self.value(args[0]), time.time()]
        if task == "count":
            self.tally.add()
        return time.time() if task == "now" else self.value(args[0]) if args else None

    async def send_many(self, task: str, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        return [await self.send(task, *args) for args in calls]

    async def get(self, sent: Any) -> Any:
        return sent

    async def missing(self, sent: Sequence[Any]) -> int:
        return sum(value in self.lost for value, _ in sent)


@pytest.fixture(params=[False, True], ids=["threads", "coroutines"])
def immediate(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Immediate:
    monkeypatch.setenv("BENCH_TALLY", str(tmp_path / "tally"))
    return Immediate(Tally(tmp_path / "tally"), coroutines=request.param)


def measured(found: Library, name: str, **parameters: Any) -> dict[str, float]:
    return run(found, measure(found, name, parameters))


def test_rates_and_times(immediate: Immediate) -> None:
    assert measured(immediate, "publish", seconds=0.01, most=50)["per_second"] > 50
    assert measured(immediate, "publish_bulk", seconds=0.01, most=2000)["per_second"] > 1000
    trips = measured(immediate, "round_trip", seconds=0.01)
    assert 0 < trips["p50"] <= trips["p90"] <= trips["p99"] < 1000
    assert 0 <= measured(immediate, "start_latency", seconds=0.01)["p50"] < 1000
    many = measured(immediate, "round_trip_many", seconds=0.01, clients=4)
    assert many["per_second"] > 0
    assert many["p50"] > 0


@pytest.mark.parametrize("task", ["stamp", "count"])
def test_a_drain_says_how_far_it_is(immediate: Immediate, task: str, capsys: pytest.CaptureFixture[str]) -> None:
    figures = measured(immediate, "drain", count=300, task=task, patience=5)
    said = [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()]
    assert said == ["filled", "begun", "drained"]
    assert figures["repeated"] == 0


def test_a_task_that_runs_twice_is_counted(immediate: Immediate) -> None:
    immediate.tally.add()
    assert measured(immediate, "drain", count=300, task="stamp", patience=5)["repeated"] == 1


def test_a_drain_that_never_ends_is_given_up(immediate: Immediate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(immediate.tally, "add", lambda: None)
    with pytest.raises(TimeoutError, match="0 of 1 tasks"):
        measured(immediate, "drain", count=10, task="count", patience=0.01)


def test_a_missing_result_is_an_error(immediate: Immediate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PATIENCE", 0.01)
    immediate.lost = {120, 121}
    with pytest.raises(RuntimeError, match="2 of 300 tasks have no result"):
        measured(immediate, "drain", count=300, task="stamp", patience=5)


def test_a_wrong_result_is_an_error(immediate: Immediate) -> None:
    immediate.value = lambda value: 7
    with pytest.raises(RuntimeError, match="task 50 returned 7"):
        measured(immediate, "drain", count=300, task="stamp", patience=5)
    with pytest.raises(RuntimeError, match="sent 0-0, received 7"):
        measured(immediate, "round_trip", seconds=0.01)
    with pytest.raises(RuntimeError, match="received 7"):
        measured(immediate, "round_trip_many", seconds=0.01, clients=3)


def test_a_library_without_coroutines_must_not_wait() -> None:
    async def wait() -> None:
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="event loop"):
        drive(wait())


def test_clients_are_at_work_together(immediate: Immediate) -> None:
    at_once: set[int] = set()
    seen: list[int] = []

    async def one(number: int) -> int:
        at_once.add(number)
        deadline = time.monotonic() + 5
        while len(at_once) < 3 and time.monotonic() < deadline:
            if immediate.coroutines:
                await asyncio.sleep(0)
        seen.append(len(at_once))
        return number

    assert sorted(run(immediate, run_clients(immediate, 3, one))) == [0, 1, 2]
    assert seen == [3, 3, 3]


def test_patience_of_blocking_clients() -> None:
    assert library.patient("redis://h:1/0") == "redis://h:1/0?socket_timeout=70"
