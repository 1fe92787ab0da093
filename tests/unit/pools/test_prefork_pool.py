"""The prefork pool and its fork server, with a supervisor that only takes notes."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from umbel.pools.app_finder import AppNotFoundError
from umbel.pools.base import AppSource, PoolOptions
from umbel.pools.description import AppDescription, LoadRequest
from umbel.pools.prefork import PreforkPool

APP = "from umbel import Umbel\napp = Umbel('pooled', set_as_current=False)\n@app.task(name='t')\ndef t(): pass\n"


class Notes:
    """What the pool asked of its supervisor."""

    def __init__(self) -> None:
        self.selector: selectors.BaseSelector = selectors.DefaultSelector()
        self.stopping = False
        self.children: dict[int, tuple[socket.socket, int | None]] = {}
        self.exits: list[tuple[int, int]] = []
        self.loads: list[AppDescription] = []
        self.failures: list[str] = []

    def add_child(self, child_id: int, descriptor: int, pid: int | None, slots: int) -> None:
        assert slots == 1
        self.children[child_id] = (socket.socket(fileno=descriptor), pid)

    def child_exited(self, child_id: int, pid: int, status: int) -> None:
        self.exits.append((child_id, os.waitstatus_to_exitcode(status)))

    def app_loaded(self, description: AppDescription) -> None:
        self.loads.append(description)

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        callback()

    def ask_stop(self, cold: bool) -> None:
        self.failures.append(f"stop {cold}")

    def fail(self, reason: str) -> None:
        self.failures.append(reason)

    def restart(self, reason: str) -> None:
        self.failures.append(f"restart: {reason}")

    def run_until(self, condition: Callable[[], Any], pool: PreforkPool) -> None:
        """As the loop does; there is no SIGCHLD here, so children are reaped at each turn."""
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, "not in time"
            for key, _events in self.selector.select(0.05):
                key.data()
            pool.reap()

    def close(self) -> None:
        self.selector.close()
        for end, _pid in self.children.values():
            end.close()


@pytest.fixture
def notes() -> Iterator[Notes]:
    found = Notes()
    yield found
    found.close()


@pytest.fixture
def make_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], PreforkPool]]:
    """A pool for an app of that source text."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("UMBEL_BROKER_URL", "memory://")
    made: list[PreforkPool] = []

    def make(text: str) -> PreforkPool:
        (tmp_path / "pooled.py").write_text(text)
        made.append(PreforkPool(AppSource("pooled", None, str(tmp_path), LoadRequest("w@h"))))
        return made[-1]

    yield make
    for pool in made:
        pool.close()


def start(pool: PreforkPool, notes: Notes, count: int) -> None:
    """The pool with that many children."""
    pool.load()
    pool.attach(notes, PoolOptions(LoadRequest("w@h")), count)
    for _ in range(count):
        pool.spawn()
    notes.run_until(lambda: len(notes.children) == count, pool)


def alive(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def test_the_app_is_described_without_being_imported_here(make_pool: Callable[[str], PreforkPool]) -> None:
    description = make_pool(APP).load()
    assert description.name == "pooled"
    assert description.task_names == ["t"]
    assert description.queue_names == ["celery"]
    assert description.settings["broker_url"] == "memory://"
    assert description.threads == []
    assert "pooled" not in sys.modules


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raise ValueError('no luck')", "importing 'pooled' failed: ValueError: no luck"),
        ("x = 1", "no Umbel application in module 'pooled'"),
        ("import os; os._exit(3)", r"ended \(exitcode 3\)"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", r"ended \(signal 9 \(SIGKILL\)\)"),
        (APP + "app.conf.include = ['not_there']", "no module named 'not_there'"),
        (APP + "app.conf.accept_content = ['jsno']", "accept_content"),
    ],
)
def test_an_app_that_does_not_load(make_pool: Callable[[str], PreforkPool], text: str, message: str) -> None:
    with pytest.raises(AppNotFoundError, match=message):
        make_pool(text).load()


def test_children_are_forked_and_their_ends_told(make_pool: Callable[[str], PreforkPool], notes: Notes) -> None:
    pool = make_pool(APP)
    start(pool, notes, 2)
    pids = {number: pid for number, (_end, pid) in notes.children.items()}
    assert sorted(pids) == [1, 2]
    os.kill(pids[1] or 0, signal.SIGKILL)
    notes.run_until(lambda: notes.exits, pool)
    assert notes.exits == [(1, -signal.SIGKILL)]
    notes.children[2][0].close()
    notes.run_until(lambda: len(notes.exits) == 2, pool)
    assert notes.exits[1] == (2, 0), "a child whose main process hung up ends by itself"


def test_a_killed_zygote_is_replaced_and_its_children_stay(
    make_pool: Callable[[str], PreforkPool], notes: Notes
) -> None:
    pool = make_pool(APP)
    start(pool, notes, 1)
    first = notes.children[1][1] or 0
    os.kill(pool._zygote_pid, signal.SIGKILL)
    pool.spawn()
    notes.run_until(lambda: len(notes.children) == 2, pool)
    assert len(notes.loads) == 1
    assert alive(first)
    os.kill(first, signal.SIGKILL)
    notes.run_until(lambda: notes.exits, pool)
    assert notes.exits == [(1, -signal.SIGKILL)]


def test_children_on_their_way_are_given_up_when_the_worker_stops(
    make_pool: Callable[[str], PreforkPool], notes: Notes
) -> None:
    pool = make_pool(APP)
    start(pool, notes, 1)
    notes.stopping = True
    os.kill(pool._zygote_pid, signal.SIGKILL)
    notes.run_until(lambda: not pool._ready, pool)
    pool.spawn()
    pool.drop_starting()
    end, pid = max(notes.children.items())[1]
    assert pid is None
    assert end.recv(1) == b"", "the engine sees that nobody is there"


def test_nothing_stays_after_close(make_pool: Callable[[str], PreforkPool], notes: Notes) -> None:
    pool = make_pool(APP)
    start(pool, notes, 2)
    pids = [pid or 0 for _end, pid in notes.children.values()]
    for end, _pid in notes.children.values():
        end.close()
    pool.close()
    assert not any(alive(pid) for pid in pids)


def test_threads_that_come_later_are_noticed(make_pool: Callable[[str], PreforkPool], notes: Notes) -> None:
    text = APP + (
        "import threading\nfrom umbel import signals\n@signals.worker_ready.connect\ndef ready(**_):\n"
        "    threading.Thread(target=threading.Event().wait, name='late', daemon=True).start()\n"
    )
    pool = make_pool(text)
    start(pool, notes, 1)
    pool.send_signal("worker_ready")
    pool.spawn()
    notes.run_until(lambda: len(notes.children) == 2, pool)
    assert pool.describe() == "prefork (spawn)"


_REAPING = """
import os, subprocess, sys
from umbel.pools.prefork import reap_adopted

def ended(own_group):
    command = [sys.executable, "-c", "raise SystemExit(3)"]
    started = subprocess.Popen(command, preexec_fn=os.setpgrp if own_group else None)
    os.waitid(os.P_PID, started.pid, os.WEXITED | os.WNOWAIT)
    return started

def is_there(pid):
    return os.path.exists(f"/proc/{pid}")

left_behind = ended(own_group=True)
reap_adopted(set())
assert not is_there(left_behind.pid)

known = ended(own_group=True)
reap_adopted({known.pid})
assert known.wait() == 3

of_the_program = ended(own_group=False)
reap_adopted(set())
assert of_the_program.wait() == 3
"""


def test_only_what_was_adopted_is_reaped() -> None:
    done = subprocess.run([sys.executable, "-c", _REAPING], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
