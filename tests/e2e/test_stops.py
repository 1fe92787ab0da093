"""How a worker ends: warm, cold, restarted, with its terminal, and with children that are busy."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from apps.basic import notes
from servers.stack import PATIENCE
from servers.worker_process import READY, StartWorker, alive, environment, urls, wait_until

from umbel import Umbel, states


def hold(app: Umbel, tmp_path: Path, text: str = "held") -> tuple[object, Path]:
    """A task that runs until its file exists."""
    until = tmp_path / f"until-{text}"
    path = tmp_path / f"notes-{text}"
    result = app.tasks["basic.hold"].delay(str(path), str(until), text)
    wait_until(lambda: notes(path), PATIENCE, "the task")
    return result, until


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_warm_stop_finishes_what_runs_and_returns_the_rest(
    app: Umbel, url: str, tmp_path: Path, start_worker: StartWorker, number: int
) -> None:
    worker = start_worker("-c", "1", env=urls(url)).wait_ready()
    held, until = hold(app, tmp_path)
    waiting = [app.tasks["basic.add"].delay(1, number) for number in range(3)]
    family = [worker.zygote(), *worker.task_children(1)]
    worker.send_signal(number)
    worker.wait_for("Warm shutdown")
    until.touch()
    assert worker.process.wait(PATIENCE) == 0, worker.log()
    assert held.get(timeout=PATIENCE) == "held"  # type: ignore[attr-defined]
    assert [result.state for result in waiting] == [states.PENDING] * 3
    assert app.client.queue_length("celery") == 3
    assert not any(alive(pid) for pid in family)
    start_worker("-c", "1", env=urls(url))
    assert [result.get(timeout=PATIENCE) for result in waiting] == [1, 2, 3]


def test_a_cold_stop_returns_what_runs_at_once(app: Umbel, url: str, tmp_path: Path, start_worker: StartWorker) -> None:
    worker = start_worker("-c", "1", env=urls(url)).wait_ready()
    held, until = hold(app, tmp_path)
    start = time.monotonic()
    assert worker.stop(signal.SIGQUIT) == 0, worker.log()
    assert time.monotonic() - start < 5
    assert app.client.queue_length("celery") == 1
    until.touch()
    start_worker("-c", "1", env=urls(url))
    assert held.get(timeout=PATIENCE) == "held"  # type: ignore[attr-defined]


def test_the_second_signal_is_cold(app: Umbel, url: str, tmp_path: Path, start_worker: StartWorker) -> None:
    worker = start_worker("-c", "1", env=urls(url)).wait_ready()
    hold(app, tmp_path)
    worker.send_signal(signal.SIGINT)
    worker.wait_for("Hitting Ctrl.C again will terminate all running tasks")
    time.sleep(0.15)
    worker.send_signal(signal.SIGINT)
    worker.wait_for("Cold shutdown")
    assert worker.process.wait(5) == 0, worker.log()
    assert app.client.queue_length("celery") == 1


def test_a_warm_stop_ends_in_time(app: Umbel, url: str, tmp_path: Path, start_worker: StartWorker) -> None:
    worker = start_worker("-c", "1", env=urls(url), app="apps.impatient").wait_ready()
    hold(app, tmp_path)
    start = time.monotonic()
    assert worker.stop(signal.SIGTERM) == 0, worker.log()
    assert 0.9 < time.monotonic() - start < 6
    assert app.client.queue_length("celery") == 1


def test_a_soft_stop_lets_tasks_end(app: Umbel, url: str, tmp_path: Path, start_worker: StartWorker) -> None:
    worker = start_worker("-c", "1", env=urls(url), app="apps.soft").wait_ready()
    held, until = hold(app, tmp_path)
    waiting = app.tasks["basic.add"].delay(1, 1)
    worker.send_signal(signal.SIGQUIT)
    worker.wait_for("Initiating Soft Shutdown, terminating in 60 seconds")
    until.touch()
    assert worker.process.wait(PATIENCE) == 0, worker.log()
    assert "Cold" not in worker.log()
    assert held.get(timeout=PATIENCE) == "held"  # type: ignore[attr-defined]
    assert (waiting.state, app.client.queue_length("celery")) == (states.PENDING, 1)


@pytest.mark.parametrize(("seconds", "signals"), [("0.3", 1), ("60", 2)])
def test_a_soft_stop_ends_cold(
    app: Umbel, url: str, tmp_path: Path, start_worker: StartWorker, seconds: str, signals: int
) -> None:
    worker = start_worker("-c", "1", env={**urls(url), "SOFT_SHUTDOWN": seconds}, app="apps.soft").wait_ready()
    hold(app, tmp_path)
    worker.send_signal(signal.SIGQUIT)
    worker.wait_for("Initiating Soft Shutdown")
    if signals == 2:
        time.sleep(0.15)  # closer together they are one signal
        worker.send_signal(signal.SIGQUIT)
    assert worker.process.wait(PATIENCE) == 0, worker.log()
    worker.wait_for("Cold shutdown")
    assert app.client.queue_length("celery") == 1


def test_remapped_sigterm_is_cold(app: Umbel, url: str, tmp_path: Path, start_worker: StartWorker) -> None:
    worker = start_worker("-c", "1", env={**urls(url), "REMAP_SIGTERM": "SIGQUIT"}).wait_ready()
    hold(app, tmp_path)
    assert worker.stop(signal.SIGTERM, 10) == 0, worker.log()
    assert "Cold shutdown" in worker.log()


def test_a_signal_to_the_whole_group_is_one_signal(
    app: Umbel, url: str, tmp_path: Path, start_worker: StartWorker
) -> None:
    worker = start_worker("-c", "1", env=urls(url), command=("setsid", sys.executable, "-m", "umbel")).wait_ready()
    held, until = hold(app, tmp_path)
    os.kill(worker.pid, signal.SIGTERM)
    os.killpg(os.getpgid(worker.pid), signal.SIGTERM)
    worker.wait_for("Warm shutdown")
    until.touch()
    assert worker.process.wait(PATIENCE) == 0, worker.log()
    assert "Cold" not in worker.log()
    assert held.get(timeout=PATIENCE) == "held"  # type: ignore[attr-defined]


def test_sighup_restarts_with_the_same_arguments(
    app: Umbel, url: str, tmp_path: Path, start_worker: StartWorker
) -> None:
    worker = start_worker("-c", "1", "-n", "again", env=urls(url)).wait_ready()
    held, until = hold(app, tmp_path)
    worker.send_signal(signal.SIGHUP)
    worker.wait_for("Warm shutdown")
    until.touch()
    wait_until(lambda: len(re.findall(READY, worker.log())) == 2, 30, "the second start")
    assert worker.process.poll() is None
    assert held.get(timeout=PATIENCE) == "held"  # type: ignore[attr-defined]
    found = app.tasks["basic.request"].delay().get(timeout=PATIENCE)
    assert found["hostname"].startswith("again@")
    assert worker.stop() == 0, worker.log()


def test_sigusr1_prints_what_threads_do(url: str, start_worker: StartWorker) -> None:
    worker = start_worker("-c", "1", env=urls(url)).wait_ready()
    worker.send_signal(signal.SIGUSR1)
    worker.wait_for(r"(?s)most recent call first.*supervisor\.py")
    assert worker.process.poll() is None


def test_an_app_that_cannot_be_imported_ends_the_worker(url: str, tmp_path: Path, start_worker: StartWorker) -> None:
    (tmp_path / "broken_app.py").write_text("from umbel import Umbel\napp = Umbel()\nraise RuntimeError('no config')\n")
    worker = start_worker(env=urls(url), app="broken_app")
    assert worker.process.wait(PATIENCE) == 1
    assert "importing 'broken_app' failed: RuntimeError: no config" in worker.log()
    assert 'broken_app.py", line 3' in worker.log()
    assert "umbel/pools" not in worker.log()


def test_interrupted_while_the_app_is_imported(url: str, tmp_path: Path, start_worker: StartWorker) -> None:
    marker = tmp_path / "importing"
    text = f"import pathlib, time\npathlib.Path({str(marker)!r}).touch()\ntime.sleep(60)\n"
    (tmp_path / "slow_app.py").write_text(text)
    worker = start_worker(env=urls(url), app="slow_app")
    wait_until(marker.exists, PATIENCE, "the import")
    zygote = worker.zygote()
    worker.send_signal(signal.SIGINT)
    assert worker.process.wait(PATIENCE) in (130, 1)
    wait_until(lambda: not alive(zygote), 5, "the end of the zygote")


def test_detached(app: Umbel, url: str, tmp_path: Path) -> None:
    pidfile, log = tmp_path / "w.pid", tmp_path / "w.log"
    command = [sys.executable, "-m", "umbel", "-A", "apps.basic", "worker", "-c", "1", "-l", "INFO", "--detach"]
    subprocess.run(
        [*command, "--pidfile", str(pidfile), "--logfile", str(log)], env=environment(**urls(url)), cwd=tmp_path,
        check=True, timeout=20,
    )  # fmt: skip
    wait_until(pidfile.exists, PATIENCE, "the pidfile")
    pid = int(pidfile.read_text())
    try:
        assert app.tasks["basic.add"].delay(1, 1).get(timeout=PATIENCE) == 2
        assert os.getsid(pid) != os.getsid(0)
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not alive(pid), PATIENCE, "the end of the worker")
    assert "Warm shutdown" in log.read_text()
    assert not pidfile.exists()
