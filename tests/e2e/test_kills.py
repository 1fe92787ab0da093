"""`kill -9` of any process while tasks run: every task finishes, and what replaces the dead is there in time."""

from __future__ import annotations

import os
import re
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from apps.basic import notes
from servers.stack import PATIENCE
from servers.worker_process import SHORT_LEASE, StartWorker, WorkerProcess, alive, children_of, urls, wait_until

from umbel import Umbel
from umbel.result import AsyncResult

TASKS = 40


def send_notes(app: Umbel, path: Path, seconds: float, count: int = TASKS) -> list[AsyncResult[str]]:
    task = app.tasks["basic.note"]
    return [task.delay(str(path), f"task-{number}", seconds) for number in range(count)]


def all_done(results: list[AsyncResult[str]], path: Path, seconds: float) -> None:
    """Every task has its result and ran, those that were killed maybe more than once."""
    deadline = time.monotonic() + seconds
    for number, result in enumerate(results):
        assert result.get(timeout=max(0.1, deadline - time.monotonic())) == f"task-{number}"
    assert set(notes(path)) == {f"task-{number}" for number in range(len(results))}


def replacement(worker: WorkerProcess, before: list[int]) -> int:
    """Pid of a child that was not there before."""
    zygote = worker.zygote()
    return wait_until(lambda: next(iter(set(children_of(zygote)) - set(before)), 0), 10, "another child")


def test_a_killed_child_is_replaced_and_its_task_runs_again(
    app: Umbel, url: str, tmp_path: Path, start_worker: StartWorker
) -> None:
    path = tmp_path / "notes"
    worker = start_worker("-c", "2", env=urls(url)).wait_ready()
    results = send_notes(app, path, 0.05)
    wait_until(lambda: len(notes(path)) >= 5, PATIENCE, "the first tasks")
    children = worker.task_children(2)
    killed = time.monotonic()
    os.kill(children[0], signal.SIGKILL)
    assert replacement(worker, children) not in children
    taken = time.monotonic() - killed
    all_done(results, path, 30)
    worker.wait_for(rf"Process 'ForkPoolWorker-\d+' pid:{children[0]} exited with 'signal 9 \(SIGKILL\)'")
    repeated = [text for text, times in Counter(notes(path)).items() if times > 1]
    assert len(repeated) <= 1
    # The claim is 100 ms; seeing it through /proc from a loaded test machine takes some of that.
    assert taken < 0.1 * slowness(), f"{taken * 1000:.0f} ms"


def slowness() -> float:
    """How much longer things may take here: a busy machine delays everybody's wake-ups."""
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    return max(1.0, min(load, 10.0))


def test_children_killed_again_and_again(app: Umbel, url: str, tmp_path: Path, start_worker: StartWorker) -> None:
    path = tmp_path / "notes"
    worker = start_worker("-c", "2", env=urls(url)).wait_ready()
    results = send_notes(app, path, 0.05)
    for count in (2, 8, 14, 20):
        wait_until(lambda: len(notes(path)) >= count, PATIENCE, f"{count} tasks")  # noqa: B023, called at once
        os.kill(worker.task_children(1)[-1], signal.SIGKILL)
    all_done(results, path, 30)


def test_a_task_that_kills_its_child_goes_to_the_dead_letters_in_the_end(
    app: Umbel, url: str, tmp_path: Path, start_worker: StartWorker
) -> None:
    path, other = tmp_path / "pids", tmp_path / "notes"
    worker = start_worker("-c", "1", env=urls(url)).wait_ready()
    survivor = app.tasks["basic.die"].delay(str(path), 2)
    assert survivor.get(timeout=PATIENCE) == "survived"
    assert len(set(notes(path))) == 2
    poison = app.tasks["basic.die"].delay(str(tmp_path / "poison"), 1000)
    letter = wait_until(
        lambda: next((found for found in app.client.dead_letters() if poison.id in str(found["headers"])), None),
        30,
        "a dead letter",
    )
    assert "task_max_deliveries" in letter["reason"]
    assert len(notes(tmp_path / "poison")) == 5
    all_done(send_notes(app, other, 0, 5), other, PATIENCE)
    worker.wait_for("went to the dead letters")


@pytest.mark.parametrize("status", [0, 11])
def test_a_child_that_ends_otherwise_loses_nothing_either(
    app: Umbel, url: str, tmp_path: Path, start_worker: StartWorker, status: int
) -> None:
    start_worker("-c", "1", env=urls(url)).wait_ready()
    assert app.tasks["basic.die"].delay(str(tmp_path / "pids"), 1, status).get(timeout=PATIENCE) == "survived"


def test_when_the_worker_is_killed_nothing_of_it_stays_and_another_finishes_its_tasks(
    app: Umbel, url: str, tmp_path: Path, start_worker: StartWorker
) -> None:
    path, until = tmp_path / "notes", tmp_path / "never"
    worker = start_worker("-c", "2", "-n", "first", env=urls(url)).wait_ready()
    held = [app.tasks["basic.hold"].delay(str(path), str(until), f"held-{number}") for number in range(2)]
    wait_until(lambda: len(notes(path)) == 2, PATIENCE, "two running tasks")
    more = send_notes(app, tmp_path / "more", 0.01)
    family = [worker.zygote(), *worker.task_children(2)]
    worker.send_signal(signal.SIGKILL)
    worker.process.wait()
    wait_until(lambda: not any(alive(pid) for pid in family), 5, "the end of zygote and children")
    until.touch()
    killed = time.monotonic()
    start_worker("-c", "2", "-n", "second", env=urls(url)).wait_ready()
    assert [result.get(timeout=20) for result in held] == ["held-0", "held-1"]
    all_done(more, tmp_path / "more", 20)
    assert time.monotonic() - killed < 15


def test_a_worker_that_lives_takes_over_from_one_that_was_killed(
    app: Umbel, url: str, tmp_path: Path, start_worker: StartWorker
) -> None:
    path, until = tmp_path / "notes", tmp_path / "never"
    env = {**urls(url), **SHORT_LEASE}
    first = start_worker("-c", "1", "-n", "first", env=env).wait_ready()
    held = app.tasks["basic.hold"].delay(str(path), str(until))
    wait_until(lambda: notes(path), PATIENCE, "a running task")
    start_worker("-c", "1", "-n", "second", env=env).wait_ready()
    until.touch()
    os.kill(first.pid, signal.SIGSTOP)
    for pid in (first.pid, first.zygote(), *first.task_children(1)):
        os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    assert held.get(timeout=20) == "held"
    assert time.monotonic() - killed < 15
    assert len(notes(path)) == 2


def test_a_killed_zygote_is_replaced_and_no_task_notices(
    app: Umbel, url: str, tmp_path: Path, start_worker: StartWorker
) -> None:
    path = tmp_path / "notes"
    worker = start_worker("-c", "2", env=urls(url)).wait_ready()
    results = send_notes(app, path, 0.05)
    wait_until(lambda: len(notes(path)) >= 3, PATIENCE, "the first tasks")
    zygote, children = worker.zygote(), worker.task_children(2)
    os.kill(zygote, signal.SIGKILL)
    worker.wait_for(rf"Fork server \(pid {zygote}\) ended: signal 9 \(SIGKILL\); starting another")
    all_done(results, path, 30)
    assert Counter(notes(path)).most_common(1)[0][1] == 1
    wait_until(lambda: not alive(zygote), 5, "the dead zygote reaped")
    assert all(alive(child) for child in children)
    os.kill(children[0], signal.SIGKILL)
    worker.wait_for(rf"Process 'ForkPoolWorker-\d+' pid:{children[0]} exited with 'signal 9 \(SIGKILL\)'")
    all_done(send_notes(app, tmp_path / "more", 0), tmp_path / "more", 20)
    assert worker.stop() == 0, worker.log()


def test_children_that_die_at_once_do_not_spin(url: str, tmp_path: Path, start_worker: StartWorker) -> None:
    worker = start_worker("-c", "1", env=urls(url), app="apps.dying").wait_ready()
    worker.wait_for("Children die as they start")
    start = time.monotonic()
    wait_until(lambda: time.monotonic() - start > 1.0, 5, "a second")
    assert len(re.findall("exited with", worker.log())) < 30
    start = time.monotonic()
    assert worker.stop() == 0, worker.log()
    assert time.monotonic() - start < 5
