"""What a worker's options do, on SQLite and on Redis."""

from __future__ import annotations

import re
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from apps import basic
from apps.basic import notes
from servers.stack import PATIENCE
from servers.worker_process import SHORT_LEASE, StartWorker, urls, wait_until

from umbel import Umbel, states
from umbel.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from umbel.utils.nodenames import worker_direct


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


def test_only_the_chosen_queues_are_consumed(app: Umbel, url: str, start_worker: StartWorker) -> None:
    plain = app.tasks["basic.add"].delay(1, 1)
    routed = app.tasks["basic.routed"].delay()
    asked = app.tasks["basic.add"].apply_async((2, 2), queue="third")
    start_worker("-Q", "elsewhere,third", "-c", "1", env=urls(url)).wait_ready()
    assert routed.get(timeout=PATIENCE) == "routed"
    assert asked.get(timeout=PATIENCE) == 4
    assert plain.state == states.PENDING
    assert app.client.queue_length("celery") == 1
    start_worker("-X", "elsewhere", "-c", "1", "-n", "second", env=urls(url))
    assert plain.get(timeout=PATIENCE) == 2


def test_a_worker_has_a_queue_of_its_own(app: Umbel, url: str, start_worker: StartWorker) -> None:
    for name in ("first", "second"):
        start_worker("-c", "1", "-n", f"{name}@host", env=urls(url), app="apps.soft").wait_ready()
    for name in ("first", "second", "second"):
        by_name = app.tasks["basic.request"].apply_async(queue=worker_direct(f"{name}@host"))
        by_key = app.tasks["basic.request"].apply_async(exchange="C.dq2", routing_key=f"{name}@host")
        assert [one.get(timeout=PATIENCE)["hostname"] for one in (by_name, by_key)] == [f"{name}@host"] * 2


def test_nothing_is_held_that_does_not_run(app: Umbel, url: str, tmp_path: Path, start_worker: StartWorker) -> None:
    start_worker("-c", "2", env=urls(url), app="apps.soft").wait_ready()
    until = tmp_path / "until"
    held = [app.tasks["basic.hold"].delay(str(tmp_path / f"notes-{n}"), str(until), n) for n in range(5)]
    wait_until(lambda: sum(bool(notes(tmp_path / f"notes-{n}")) for n in range(5)) == 2, PATIENCE, "two tasks")
    assert app.client.queue_length("celery") == 3
    until.touch()
    assert [one.get(timeout=PATIENCE) for one in held] == list(range(5))


def test_time_limits(app: Umbel, url: str, start_worker: StartWorker) -> None:
    worker = start_worker("-c", "2", env=urls(url)).wait_ready()
    soft = app.tasks["basic.soft"].apply_async((30,), soft_time_limit=0.3)
    assert soft.get(timeout=PATIENCE) == "interrupted"
    uncaught = app.tasks["basic.sleep"].apply_async((30,), soft_time_limit=0.3)
    with pytest.raises(SoftTimeLimitExceeded):
        uncaught.get(timeout=PATIENCE)
    hard = app.tasks["basic.sleep"].apply_async((30,), time_limit=0.5)
    with pytest.raises(TimeLimitExceeded):
        hard.get(timeout=PATIENCE)
    assert hard.state == states.FAILURE
    worker.wait_for(r"WARNING/MainProcess\] Soft time limit \(0\.3s\) exceeded for basic\.soft\[")
    worker.wait_for(r"ERROR/MainProcess\] Hard time limit \(0\.5s\) exceeded for basic\.sleep\[")
    assert app.tasks["basic.soft"].apply_async((0.01,), soft_time_limit=5).get(timeout=PATIENCE) == "undisturbed"
    assert len(worker.task_children(2)) == 2


def test_limits_of_the_command_line_are_the_tasks_default(app: Umbel, url: str, start_worker: StartWorker) -> None:
    start_worker("-c", "1", "--time-limit", "0.5", env=urls(url)).wait_ready()
    with pytest.raises(TimeLimitExceeded):
        app.tasks["basic.sleep"].delay(30).get(timeout=PATIENCE)


def test_children_are_replaced_after_their_number_of_tasks(app: Umbel, url: str, start_worker: StartWorker) -> None:
    start_worker("-c", "1", "--max-tasks-per-child", "3", env=urls(url)).wait_ready()
    results = [app.tasks["basic.request"].delay() for _ in range(10)]
    pids = [result.get(timeout=PATIENCE)["pid"] for result in results]
    counts = sorted(Counter(pids).values(), reverse=True)
    assert sum(counts) == 10
    assert max(counts) == 3
    assert len(counts) == 4


def test_children_that_grow_are_replaced(app: Umbel, url: str, start_worker: StartWorker) -> None:
    start_worker("-c", "1", "--max-memory-per-child", "150000", env=urls(url)).wait_ready()
    grow = app.tasks["basic.grow"]
    grown = grow.delay(200_000).get(timeout=PATIENCE)

    def another() -> int | None:
        # The one that has grown works on until its replacement is ready.
        pid: int = grow.delay(0).get(timeout=PATIENCE)
        return pid if pid != grown else None

    replacement = wait_until(another, PATIENCE, "another child")
    assert grow.delay(0).get(timeout=PATIENCE) == replacement


def test_the_log_is_celery_s(app: Umbel, url: str, start_worker: StartWorker) -> None:
    worker = start_worker("-c", "1", env=urls(url)).wait_ready()
    result = app.tasks["basic.log"].delay("hello")
    result.get(timeout=PATIENCE)
    stamp = r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}: "
    worker.wait_for(stamp + rf"INFO/MainProcess\] Task basic\.log\[{result.id}\] received")
    worker.wait_for(stamp + rf"WARNING/ForkPoolWorker-\d+\] basic\.log\[{result.id}\]: hello")
    worker.wait_for(stamp + rf"INFO/ForkPoolWorker-\d+\] Task basic\.log\[{result.id}\] succeeded in [\d.e-]+s: None")
    worker.wait_for(r"(?m)^printed hello$")


def test_the_banner_tells_where_things_are(url: str, tmp_path: Path, start_worker: StartWorker) -> None:
    worker = start_worker("-c", "3", "-n", "w1", env=urls(url)).wait_ready()
    text = worker.log()
    assert re.search(r"w1@\S+", text)
    assert url in text
    assert "3 (prefork)" in text
    assert "basic.add" in text
    assert "\033[" not in text


@pytest.mark.parametrize("pool", ["threads", "solo"])
def test_other_pools(app: Umbel, url: str, start_worker: StartWorker, pool: str) -> None:
    worker = start_worker("-P", pool, "-c", "3", env=urls(url)).wait_ready()
    found = [app.tasks["basic.request"].delay() for _ in range(6)]
    told = [result.get(timeout=PATIENCE) for result in found]
    assert {entry["pid"] for entry in told} == {worker.pid}
    threads = {entry["thread"] for entry in told}
    assert threads == {"MainThread"} if pool == "solo" else all("ThreadPoolWorker" in name for name in threads)
    assert worker.stop() == 0, worker.log()


def test_threads_run_at_once(app: Umbel, url: str, tmp_path: Path, start_worker: StartWorker) -> None:
    start_worker("-P", "threads", "-c", "3", env=urls(url)).wait_ready()
    until, path = tmp_path / "go", tmp_path / "notes"
    results = [app.tasks["basic.hold"].delay(str(path), str(until)) for _ in range(3)]
    wait_until(lambda: len(notes(path)) == 3, PATIENCE, "three tasks at once")
    until.touch()
    assert [result.get(timeout=PATIENCE) for result in results] == ["held"] * 3


def test_signals_reach_the_process_of_the_app(url: str, tmp_path: Path, start_worker: StartWorker) -> None:
    path = tmp_path / "signals"
    env = {**urls(url), "UMBEL_TEST_SIGNALS": str(path)}
    worker = start_worker("-c", "1", env=env, app="apps.with_signals").wait_ready()
    client = basic.build(broker_url=url, result_backend=url)
    client.send_task("signals.add", (1, 2)).get(timeout=PATIENCE)
    with pytest.raises(ValueError, match="no"):
        client.send_task("signals.fail").get(timeout=PATIENCE)
    revoked = client.send_task("signals.add", (1, 2), countdown=2)
    expired = client.send_task("signals.add", (1, 2), expires=-1)
    revoked.revoke()
    client.send_task("signals.unknown")
    for name in ("task_failure", "task_received", "task_unknown", f"task_revoked.*{revoked.id}", f".*{expired.id}"):
        wait_until(lambda name=name: any(re.match(name, line) for line in notes(path)), PATIENCE, name)  # type: ignore[misc]
    assert worker.stop() == 0, worker.log()
    told = "\n".join(notes(path))
    at_once = {"terminated": False, "signum": None, "expired": False}
    assert f"<@task: signals.add of signals> {revoked.id} {at_once}" in told
    assert f"{expired.id} { {**at_once, 'expired': True} }" in told
    lines = [line.split()[:2] for line in notes(path)]
    zygote, child = by_name(lines, "worker_init"), by_name(lines, "worker_process_init")
    assert zygote != child
    assert worker.pid not in (zygote, child)
    assert by_name(lines, "worker_ready") == by_name(lines, "worker_shutting_down") == zygote
    assert by_name(lines, "worker_shutdown") == zygote
    assert by_name(lines, "task_received") == by_name(lines, "task_unknown") == by_name(lines, "task_revoked") == zygote
    assert by_name(lines, "task_prerun") == by_name(lines, "task_postrun") == by_name(lines, "task_success") == child
    assert by_name(lines, "worker_process_shutdown") == child


def by_name(lines: list[list[str]], name: str) -> int:
    """Pid of the first line of a signal."""
    return next(int(pid) for found, pid in lines if found == name)


def test_an_app_with_threads_is_not_forked(url: str, start_worker: StartWorker) -> None:
    worker = start_worker("-c", "2", env=urls(url), app="apps.threaded").wait_ready()
    worker.wait_for(r"started threads \(background-of-the-app\)")
    client = basic.build(broker_url=url, result_backend=url)
    assert [client.send_task("threaded.alive").get(timeout=PATIENCE) for _ in range(3)] == [True] * 3
    assert "prefork (spawn)" in worker.log()
    assert worker.stop() == 0, worker.log()


def test_delayed_tasks_wait_in_the_broker(app: Umbel, url: str, start_worker: StartWorker) -> None:
    env = {**urls(url), **SHORT_LEASE}
    worker = start_worker("-c", "1", env=env).wait_ready()
    later = app.tasks["basic.add"].apply_async((1, 1), countdown=4)
    worker.wait_for(rf"{later.id}\] received")
    worker.send_signal(signal.SIGKILL)
    worker.process.wait()
    sent = time.monotonic()
    start_worker("-c", "1", "-n", "second", env=env).wait_ready()
    assert later.get(timeout=40) == 2
    assert time.monotonic() - sent < 30


def test_purge_before_the_start(app: Umbel, url: str, start_worker: StartWorker) -> None:
    old = [app.tasks["basic.add"].delay(1, 1) for _ in range(5)]
    worker = start_worker("-c", "1", "--purge", env=urls(url)).wait_ready()
    worker.wait_for("purge: erased 5 messages")
    assert app.tasks["basic.add"].delay(1, 1).get(timeout=PATIENCE) == 2
    assert [result.state for result in old] == [states.PENDING] * 5


def test_a_pidfile_is_held_while_it_runs(url: str, tmp_path: Path, start_worker: StartWorker) -> None:
    path = tmp_path / "w.pid"
    worker = start_worker("-c", "1", "--pidfile", str(path), env=urls(url)).wait_ready()
    assert int(path.read_text()) == worker.pid
    second = start_worker("-c", "1", "--pidfile", str(path), env=urls(url))
    assert second.process.wait(PATIENCE) == 1
    assert f"belongs to process {worker.pid}" in second.log()
    assert worker.stop() == 0
    assert not path.exists()
