"""One suite for all pools: what a task may do, and what becomes of it.

Plain functions and coroutines behave alike in every pool, but for time limits (see `LIMITS` and docs/pools.md) and for
pools in the main process, which have no children to be replaced or killed.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from apps import behaving
from apps.basic import OwnError, notes
from servers.stack import PATIENCE
from servers.worker_process import StartWorker, WorkerProcess, children_of, urls, wait_until

from umbel import Umbel, states
from umbel.exceptions import SoftTimeLimitExceeded, TaskRevokedError, TimeLimitExceeded

POOLS = ("prefork", "asyncio", "gevent", "eventlet", "threads", "solo")
#: Pools whose children are processes.
IN_PROCESSES = ("prefork", "asyncio", "gevent", "eventlet")
#: Pools that run several tasks at a time.
CONCURRENT = tuple(pool for pool in POOLS if pool != "solo")
#: Which time limits hold, by pool and kind of task.
LIMITS = {
    ("prefork", "sync"): ("soft", "hard"),
    ("prefork", "async"): ("soft", "hard"),
    ("asyncio", "async"): ("soft", "hard"),
    # A thread cannot be interrupted: its process is killed some seconds after the hard limit, as that of a coroutine
    # which refuses to be cancelled (below).
    ("asyncio", "sync"): (),
    ("gevent", "sync"): ("soft", "hard"),
    ("gevent", "async"): ("soft", "hard"),
    ("eventlet", "sync"): ("soft", "hard"),
    ("eventlet", "async"): ("soft", "hard"),
}
#: Each pool with the kind of task it is for; asyncio also with plain functions, which take another way there.
USUAL = [(pool, "async" if pool == "asyncio" else "sync") for pool in POOLS] + [("asyncio", "sync")]
#: Broker, pool and kind of task.
CASES = [("sqlite", pool, flavour) for pool in POOLS for flavour in behaving.FLAVOURS]
CASES += [("redis", pool, flavour) for pool in POOLS for flavour in behaving.FLAVOURS if (pool, flavour) in USUAL]


def cases(*pools: str) -> pytest.MarkDecorator:
    """Of these pools, with plain functions and with coroutines. A worker runs until another pool's turn comes."""
    chosen = [
        pytest.param((broker, pool), flavour, id=f"{broker}-{pool}-{flavour}")
        for broker, pool, flavour in CASES
        if not pools or pool in pools
    ]
    return pytest.mark.parametrize(("worker", "flavour"), chosen, indirect=["worker"], scope="module")


class Running:
    """A worker with one kind of pool, and the client's side."""

    def __init__(self, pool: str, app: Umbel, process: WorkerProcess) -> None:
        self.pool, self.app, self.process = pool, app, process

    def __getitem__(self, name: str) -> Any:
        return self.app.tasks[name]


@pytest.fixture(scope="module")
def worker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    broker, pool = request.param
    folder = tmp_path_factory.mktemp(pool)
    url = f"sqlite:///{folder}/umbel.sqlite3"
    if broker == "redis":
        # One for each pool: what a worker leaves behind is not for the next.
        url = request.getfixturevalue("redis_urls")[POOLS.index(pool) % 5]
    app = behaving.build(broker_url=url, result_backend=url)
    process = WorkerProcess(folder, ["-l", "INFO", "-P", pool, "-c", "3", "-n", pool], urls(url), app="apps.behaving")
    process.wait_ready()
    try:
        yield Running(pool, app, process)
    finally:
        app.close()
        assert process.stop() == 0, process.log()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "notes")


def noted(path: str, count: int = 1) -> list[str]:
    return wait_until(lambda: found if len(found := notes(path)) >= count else [], PATIENCE, f"{count} notes")


# --- what a task may do


@cases()
def test_success(worker: Running, flavour: str) -> None:
    found = [worker[f"{flavour}.add"].delay(number, 1) for number in range(20)]
    assert [result.get(timeout=PATIENCE) for result in found] == list(range(1, 21))
    assert found[0].state == states.SUCCESS


@cases()
def test_failure(worker: Running, flavour: str) -> None:
    result = worker[f"{flavour}.fail"].delay("own")
    with pytest.raises(OwnError, match="as asked"):
        result.get(timeout=PATIENCE)
    assert result.state == states.FAILURE
    assert "raise_by_name" in result.traceback
    assert "umbel/execution/tracer" not in result.traceback
    assert "umbel/execution/async_tracer" not in result.traceback


@cases()
@pytest.mark.parametrize("kind", ["rude", "exit"])
def test_what_no_except_exception_catches_is_a_failure_too(worker: Running, flavour: str, kind: str) -> None:
    result = worker[f"{flavour}.fail"].delay(kind)
    result.get(timeout=PATIENCE, propagate=False)
    assert result.state == states.FAILURE
    assert worker[f"{flavour}.add"].delay(1, 1).get(timeout=PATIENCE) == 2


@cases()
def test_retries(worker: Running, flavour: str) -> None:
    assert worker[f"{flavour}.retry"].delay(2).get(timeout=PATIENCE) == 2
    assert worker[f"{flavour}.autoretry"].delay().get(timeout=PATIENCE) == 1


@cases()
def test_ignore(worker: Running, flavour: str, path: str) -> None:
    result = worker[f"{flavour}.ignore"].delay(path)
    noted(path)
    worker.process.wait_for(rf"Task {flavour}\.ignore\[{result.id}\] ignored")
    assert result.state == states.PENDING


@cases()
def test_reject(worker: Running, flavour: str, path: str) -> None:
    assert worker[f"{flavour}.reject"].delay(path, True).get(timeout=PATIENCE) == "second time"
    result = worker[f"{flavour}.reject"].delay(f"{path}-2", False)
    worker.process.wait_for(rf"Message {flavour}\.reject\[{result.id}\] went to the dead letters")


@cases()
def test_update_state(worker: Running, flavour: str, path: str, tmp_path: Path) -> None:
    until = tmp_path / "until"
    result = worker[f"{flavour}.progress"].delay(path, str(until))
    noted(path)
    assert wait_until(lambda: result.info, PATIENCE, "progress") == {"done": 1}
    assert result.state == "PROGRESS"
    until.touch()
    assert result.get(timeout=PATIENCE) == "complete"


@cases(*CONCURRENT)
def test_tasks_side_by_side_know_who_they_are(worker: Running, flavour: str, path: str, tmp_path: Path) -> None:
    until = tmp_path / "until"
    found = [worker[f"{flavour}.identify"].delay(path, str(until)) for _ in range(3)]
    noted(path, 3)
    until.touch()
    for result in found:
        before, after, variable = result.get(timeout=PATIENCE)
        assert before == after
        assert (before["id"], before["task"]) == (result.id, f"{flavour}.identify")
        assert before["hostname"].startswith(worker.pool)
        assert variable == {"variable": result.id}


@cases()
def test_context_variables_last_as_long_as_their_task(worker: Running, flavour: str) -> None:
    seen = [worker[f"{flavour}.variable"].delay("mine").get(timeout=PATIENCE) for _ in range(4)]
    assert seen == ["unset"] * 4


# --- time limits


@cases()
def test_soft_time_limits(worker: Running, flavour: str) -> None:
    task = worker[f"{flavour}.soft"]
    if "soft" not in LIMITS.get((worker.pool, flavour), ()):
        assert task.apply_async((0.3,), soft_time_limit=0.1).get(timeout=PATIENCE) == "undisturbed"
        return
    assert task.apply_async((30,), soft_time_limit=0.2).get(timeout=PATIENCE) == "interrupted"
    uncaught = worker[f"{flavour}.sleep"].apply_async((30,), soft_time_limit=0.2)
    with pytest.raises(SoftTimeLimitExceeded):
        uncaught.get(timeout=PATIENCE)
    assert uncaught.state == states.FAILURE
    assert task.apply_async((0.01,), soft_time_limit=20).get(timeout=PATIENCE) == "undisturbed"


@cases()
def test_hard_time_limits(worker: Running, flavour: str, path: str, tmp_path: Path) -> None:
    task = worker[f"{flavour}.sleep"]
    if "hard" not in LIMITS.get((worker.pool, flavour), ()):
        assert task.apply_async((0.3,), time_limit=0.1).get(timeout=PATIENCE) == "undisturbed"
        return
    until = tmp_path / "until"
    beside = worker[f"{flavour}.hold"].delay(path, str(until))
    noted(path)
    limited = task.apply_async((60,), time_limit=0.3)
    with pytest.raises(TimeLimitExceeded, match=r"0\.3"):
        limited.get(timeout=PATIENCE)
    assert limited.state == states.FAILURE
    until.touch()
    assert beside.get(timeout=PATIENCE) == "done"
    if flavour == "async":
        assert len(notes(path)) == 1, "the task beside it was run once"


@cases("asyncio")
def test_coroutines_clean_up_at_their_limits(worker: Running, flavour: str, path: str) -> None:
    if flavour == "sync":
        return
    limited = worker["async.sleep"].apply_async((60, path), time_limit=0.2)
    limited.get(timeout=PATIENCE, propagate=False)
    assert notes(path) == ["cleaned up"]
    gathered = worker["async.gathered"].apply_async((60, f"{path}-2"), soft_time_limit=0.2)
    assert gathered.get(timeout=PATIENCE) == "interrupted"
    assert sorted(noted(f"{path}-2", 2)) == ["first cleaned up", "second cleaned up"]


# Takes as long as the process is given to come to an end.
@pytest.mark.parametrize(
    "worker", [pytest.param(("sqlite", "asyncio"), id="sqlite-asyncio")], indirect=True, scope="module"
)
def test_a_coroutine_that_refuses_to_be_cancelled_costs_its_process(worker: Running, path: str) -> None:
    limited = worker["async.stubborn"].apply_async((path,), time_limit=0.2)
    with pytest.raises(TimeLimitExceeded):
        limited.get(timeout=PATIENCE)
    pid, refused = noted(path, 2)
    assert refused == "refused"
    assert worker["async.pid"].delay().get(timeout=PATIENCE) != int(pid)


# --- the life of a worker

StartPool = Callable[..., tuple[Umbel, WorkerProcess]]


@pytest.fixture
def start_pool(tmp_path: Path, start_worker: StartWorker) -> Iterator[StartPool]:
    apps: list[Umbel] = []

    def start(pool: str, *arguments: str) -> tuple[Umbel, WorkerProcess]:
        url = f"sqlite:///{tmp_path}/umbel.sqlite3"
        apps.append(behaving.build(broker_url=url, result_backend=url))
        process = start_worker("-P", pool, "-n", pool, *arguments, env=urls(url), app="apps.behaving")
        return apps[-1], process.wait_ready()

    yield start
    for app in apps:
        app.close()


@pytest.mark.parametrize("pool", IN_PROCESSES)
def test_children_are_replaced_after_their_number_of_tasks(start_pool: StartPool, pool: str) -> None:
    app, worker = start_pool(pool, "-c", "1" if pool == "prefork" else "2", "--max-tasks-per-child", "3")
    found = [app.tasks[f"{behaving.FLAVOURS[number % 2]}.pid"].delay() for number in range(7)]
    counts = Counter(result.get(timeout=PATIENCE) for result in found)
    assert sum(counts.values()) == 7
    assert max(counts.values()) == 3
    assert worker.stop() == 0, worker.log()


def test_a_process_that_has_grown_works_until_its_replacement_is_there(
    start_pool: StartPool, tmp_path: Path, path: str
) -> None:
    app, worker = start_pool("asyncio", "-c", "2", "--max-memory-per-child", "1")
    until = tmp_path / "until"
    held = app.tasks["async.hold"].delay(path, str(until))
    first = int(noted(path)[0].split()[1])
    pid = app.tasks["async.pid"]
    wait_until(lambda: pid.delay().get(timeout=PATIENCE) != first, PATIENCE, "another process")
    until.touch()
    assert held.get(timeout=PATIENCE) == "done"
    assert len(notes(path)) == 1
    worker.wait_for(r"Child is replaced: it holds \d+ KiB, the limit is 1 KiB")
    assert worker.stop() == 0, worker.log()


@pytest.mark.parametrize("pool", ["prefork", "asyncio"])
def test_a_pool_grows_with_what_waits(start_pool: StartPool, tmp_path: Path, path: str, pool: str) -> None:
    app, worker = start_pool(pool, "--autoscale", "2,1", *(("-c", "1") if pool == "asyncio" else ()))
    assert len(worker.task_children(1)) == 1
    until = tmp_path / "until"
    flavour = "async" if pool == "asyncio" else "sync"
    held = [app.tasks[f"{flavour}.hold"].delay(path, str(until)) for _ in range(3)]
    assert len({line.split()[1] for line in noted(path, 2)}) == 2
    worker.wait_for(r"Scaling up 1 processes\.")
    until.touch()
    assert [result.get(timeout=PATIENCE) for result in held] == ["done"] * 3
    assert worker.stop() == 0, worker.log()


def test_a_pool_shrinks_when_less_is_needed(
    start_pool: StartPool, tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOSCALE_KEEPALIVE", "0")
    app, worker = start_pool("prefork", "--autoscale", "2,1")
    until = tmp_path / "until"
    held = [app.tasks["sync.hold"].delay(path, str(until)) for _ in range(2)]
    noted(path, 2)
    until.touch()
    assert [result.get(timeout=PATIENCE) for result in held] == ["done"] * 2
    worker.wait_for(r"Scaling down 1 processes\.")
    wait_until(lambda: len(worker.task_children()) == 1, PATIENCE, "one child")
    assert worker.stop() == 0, worker.log()


@pytest.mark.parametrize(("pool", "flavour"), [case for case in USUAL if case[0] != "solo"])
def test_a_warm_stop_lets_running_tasks_end_and_a_cold_one_returns_them(
    start_pool: StartPool, tmp_path: Path, path: str, pool: str, flavour: str
) -> None:
    app, worker = start_pool(pool, "-c", "2")
    until = tmp_path / "until"
    ends = app.tasks[f"{flavour}.hold"].delay(path, str(until))
    never = app.tasks[f"{flavour}.hold"].delay(path, f"{path}-never")
    noted(path, 2)
    waiting = app.tasks[f"{flavour}.add"].delay(1, 1)
    worker.send_signal(signal.SIGTERM)
    worker.wait_for("Warm shutdown")
    until.touch()
    assert ends.get(timeout=PATIENCE) == "done"
    worker.stop(signal.SIGQUIT)
    assert [never.state, waiting.state] == [states.PENDING] * 2
    assert app.client.queue_length("celery") == 2


def test_stops_of_the_solo_pool(start_pool: StartPool, tmp_path: Path, path: str) -> None:
    app, worker = start_pool("solo")
    until = tmp_path / "until"
    ends = app.tasks["sync.hold"].delay(path, str(until))
    noted(path)
    worker.send_signal(signal.SIGTERM)
    worker.wait_for("Warm shutdown")
    until.touch()
    assert worker.stop() == 0, worker.log()
    assert ends.get(timeout=PATIENCE) == "done"
    never = app.tasks["async.hold"].delay(path, f"{path}-never")
    _, worker = start_pool("solo")
    noted(path, 2)
    worker.stop(signal.SIGQUIT)
    assert never.state == states.PENDING
    assert app.client.queue_length("celery") == 1


@pytest.mark.parametrize("pool", IN_PROCESSES)
def test_tasks_of_a_child_that_was_killed_are_run_again(
    start_pool: StartPool, tmp_path: Path, path: str, pool: str
) -> None:
    app, worker = start_pool(pool, "-c", "4")
    until = tmp_path / "until"
    held = [app.tasks[f"{behaving.FLAVOURS[number % 2]}.hold"].delay(path, str(until)) for number in range(4)]
    pids = {int(line.split()[1]) for line in noted(path, 4)}
    assert len(pids) == (4 if pool == "prefork" else 1)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    again = {int(line.split()[1]) for line in noted(path, 8)[4:]}
    assert not again & pids
    until.touch()
    assert [result.get(timeout=PATIENCE) for result in held] == ["done"] * 4
    assert worker.stop() == 0, worker.log()


@pytest.mark.parametrize("name", ["custom", "apps.own_pool:NotedPool"])
def test_a_pool_of_one_s_own(start_worker: StartWorker, tmp_path: Path, path: str, name: str) -> None:
    url = f"sqlite:///{tmp_path}/umbel.sqlite3"
    env = {**urls(url), "NOTES": path, "CELERY_CUSTOM_WORKER_POOL": "apps.own_pool:NotedPool"}
    worker = start_worker("-P", name, "-c", "2", env=env, app="apps.behaving").wait_ready()
    assert "2 (noted)" in worker.log()
    with behaving.build(broker_url=url, result_backend=url) as app:
        assert app.tasks["async.add"].delay(1, 1).get(timeout=PATIENCE) == 2
    assert notes(path) == ["spawned"]
    assert worker.stop() == 0, worker.log()


def test_processes_of_the_asyncio_pool_share_the_work(start_pool: StartPool, tmp_path: Path, path: str) -> None:
    app, worker = start_pool("asyncio", "-c", "2", "--processes", "2")
    assert "2 (asyncio, 2 processes)" in worker.log()
    assert len(worker.task_children(2)) == 2
    until = tmp_path / "until"
    held = [app.tasks["async.hold"].delay(path, str(until)) for _ in range(5)]
    counts = Counter(line.split()[1] for line in noted(path, 4))
    assert list(counts.values()) == [2, 2]
    until.touch()
    assert [result.get(timeout=PATIENCE) for result in held] == ["done"] * 5
    assert children_of(worker.pid)


def test_five_thousand_coroutines_in_one_process(start_pool: StartPool) -> None:
    app, worker = start_pool("asyncio", "-c", "5001")
    crowd = app.tasks["async.crowd"]
    messages = [app.sender.prepare("async.crowd", (), {}, {}, crowd) for _ in range(5_000)]
    app.client.publish([prepared.message for prepared in messages])
    census = app.tasks["async.census"]

    def all_there() -> int:
        count, kib = census.delay().get(timeout=PATIENCE)
        return int(kib) if count == 5_000 else 0

    kib = wait_until(all_there, 60, "5,000 tasks at a time")
    assert kib < 150_000
    app.tasks["async.dismiss"].delay()
    for prepared in messages:
        app.AsyncResult(prepared.task_id).get(timeout=PATIENCE)
    assert worker.stop() == 0, worker.log()


@cases("asyncio", "gevent")
def test_a_task_that_runs_beside_others_is_revoked_alone(
    worker: Running, flavour: str, path: str, tmp_path: Path
) -> None:
    if (worker.pool, flavour) == ("asyncio", "sync"):
        return
    until = tmp_path / "until"
    beside = worker[f"{flavour}.hold"].delay(path, str(until))
    revoked = worker[f"{flavour}.hold"].delay(path, f"{path}-never")
    noted(path, 2)
    revoked.revoke(terminate=True)
    with pytest.raises(TaskRevokedError, match="terminated"):
        revoked.get(timeout=PATIENCE)
    assert revoked.state == states.REVOKED
    until.touch()
    assert beside.get(timeout=PATIENCE) == "done"
    assert len(notes(path)) == 2
