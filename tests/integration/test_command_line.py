"""Commands against a broker with a worker on it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from servers.stack import PATIENCE, Stack, in_processes
from servers.worker_process import environment, urls, wait_until

pytestmark = in_processes


class Shell:
    """Runs commands as a user does."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self._env = environment(**urls(stack.url))
        self._folder = folder

    def run(self, *arguments: str, status: int = 0, given: str = "") -> str:
        """Output of `umbel -A apps.basic ...`."""
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "umbel", "-A", "apps.basic", *arguments],
            env=self._env, cwd=self._folder, input=given, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture
def shell(stack: Stack, tmp_path: Path) -> Shell:
    return Shell(stack, tmp_path)


def test_call_and_result(shell: Shell) -> None:
    task_id, value = shell.run("call", "basic.add", "-a", "[2, 3]", "--wait", "--timeout", "20").split()
    assert value == "5"
    assert shell.run("result", task_id).strip() == "5"
    shown = shell.run("call", "basic.echo", "-k", '{"x": "[red]y"}', "-w").splitlines()[1]
    assert shown == "[[], {'x': '[red]y'}]"


def test_a_failed_task(shell: Shell) -> None:
    out = shell.run("call", "basic.fail", "-a", '["value", "broken"]', "--wait", status=1)
    assert "is FAILURE: ValueError: broken" in out
    task_id = out.split()[0]
    assert "raise errors[kind](*args)" in shell.run("result", task_id, "--traceback")
    assert "ValueError: broken" in shell.run("result", task_id, status=1)


def test_dead_letters(shell: Shell, stack: Stack, tmp_path: Path) -> None:
    client = stack.app.client
    client.dead_purge(None)
    first = shell.run("call", "basic.reject", "-a", json.dumps([str(tmp_path / "notes"), False])).strip()
    wait_until(lambda: len(client.dead_letters()) == 1, PATIENCE, "a dead letter")
    listed = json.loads(shell.run("dead", "list", "--json"))
    assert listed["headers"]["id"] == first
    table = shell.run("dead", "list")
    assert "not today" in table
    assert "basic.reject" in table
    shown = shell.run("dead", "show", listed["id"])
    assert "not today" in shown
    assert f'"id": "{first}"' in shown
    assert "Replayed 1 message." in shell.run("dead", "replay", listed["id"])
    assert stack.app.AsyncResult(first).task_id == first
    wait_until(lambda: stack.app.AsyncResult(first).state == "SUCCESS", PATIENCE, "the replayed task")
    assert shell.run("dead", "list").strip() == "No dead letters."
    shell.run("call", "basic.nowhere")
    wait_until(lambda: len(client.dead_letters()) == 1, PATIENCE, "a dead letter")
    assert "Aborted" in shell.run("dead", "purge", "--all", given="n\n", status=1)
    assert "Erased 1 dead letter." in shell.run("dead", "purge", "--all", "--force")


def test_queues_and_purge(shell: Shell) -> None:
    for _ in range(3):
        shell.run("call", "basic.add", "-a", "[1, 1]", "--queue", "nobody")
    assert re.search(r"nobody\s+3", shell.run("queues", "-Q", "nobody"))
    assert "Aborted" in shell.run("purge", "-Q", "nobody", given="n\n", status=1)
    assert "Erased 3 messages from nobody." in shell.run("purge", "-Q", "nobody", "-f")
    assert re.search(r"nobody\s+0", shell.run("queues", "-Q", "nobody"))


def test_shell(shell: Shell) -> None:
    out = shell.run("shell", "--python", given="print(add.delay(20, 22).get(timeout=20))\n")
    assert "42" in out


def test_output_ends_early_without_a_traceback(stack: Stack, tmp_path: Path) -> None:
    command = f"{sys.executable} -m umbel -A apps.basic report | head -c 1"
    done = subprocess.run(
        ["bash", "-c", command], env=environment(**urls(stack.url)), cwd=tmp_path, capture_output=True,
        text=True, timeout=30, check=True,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
