"""Programs that fork after they have imported and used Umbel: every process sends and waits on its own."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from servers.own_server import free_port
from servers.stack import PATIENCE
from servers.worker_process import StartWorker, environment, urls, wait_until


@pytest.fixture(autouse=True)
def worker(url: str, start_worker: StartWorker) -> None:
    """Who runs the tasks."""
    start_worker("-c", "1", env=urls(url)).wait_ready()


@pytest.fixture
def web_server(url: str, tmp_path: Path) -> Iterator[str]:
    """gunicorn with two processes, forked from one that has used the app."""
    address = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "gunicorn", "--preload", "-w", "2", "-b", address, "apps.forking:application"]
    with open(tmp_path / "gunicorn.log", "wb") as log:
        server = subprocess.Popen(command, env=environment(**urls(url)), stdout=log, stderr=log)
    try:
        booted = tmp_path / "gunicorn.log"
        wait_until(lambda: booted.read_bytes().count(b"Booting worker") == 2, 60, "gunicorn's two processes")
        yield f"http://{address}/"
    finally:
        server.terminate()
        server.wait(30)


def test_a_web_server_that_forks(web_server: str) -> None:
    def ask(number: int) -> list[int]:
        with urllib.request.urlopen(f"{web_server}?{number}", timeout=PATIENCE) as answer:
            found: list[int] = json.load(answer)
        return found

    answered_by: set[int] = set()

    def both_have_answered() -> bool:
        # At once, so that both have something to do; which of them takes a call is the kernel's choice.
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(ask, range(40)))
        assert [value for _pid, value in answers] == list(range(1, 41))
        answered_by.update(pid for pid, _value in answers)
        return len(answered_by) == 2

    wait_until(both_have_answered, PATIENCE, "an answer from each of the two processes")


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_pool_of_processes(url: str, method: str) -> None:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "apps.forking", method]
    done = subprocess.run(
        command, env=environment(**urls(url)), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert [value for _pid, value in answers] == list(range(1, len(answers) + 1))
    assert len({pid for pid, _value in answers}) > 1
