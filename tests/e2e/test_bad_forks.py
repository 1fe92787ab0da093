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


#: Servers with two processes, forked from one that has used the app; each says so when a process is ready.
SERVERS = {
    "gunicorn": (["-m", "gunicorn", "--preload", "-w", "2", "-b", "{address}", "{module}"], b"Booting worker"),
    "uwsgi": (
        [
            "-c",
            "import pyuwsgi; pyuwsgi.run()",
            *["--master", "--processes=2", "--enable-threads", "--die-on-term", "--need-app"],
            "--http-socket={address}",
            "--module={module}",
        ],
        b"spawned uWSGI worker",
    ),
}


@pytest.fixture(params=SERVERS)
def web_server(request: pytest.FixtureRequest, url: str, tmp_path: Path) -> Iterator[str]:
    """The address of one of them."""
    words, ready = SERVERS[request.param]
    address, log = f"127.0.0.1:{free_port()}", tmp_path / "server.log"
    command = [word.format(address=address, module="apps.forking:application") for word in words]
    with open(log, "wb") as output:
        environ = environment(**urls(url))
        server = subprocess.Popen([sys.executable, *command], env=environ, stdout=output, stderr=output)
    try:
        wait_until(lambda: log.read_bytes().count(ready) == 2, 60, f"{request.param}'s two processes")
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
