"""Every signal that Celery sends is sent by Umbel, with its arguments, by the same kind of sender."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from apps.basic import notes
from servers.celery_command import CELERY, QUIET
from servers.worker_process import WorkerProcess, wait_until

from umbel import Umbel
from umbel.signals import __all__ as SIGNALS

PATIENCE = 40.0
#: What would send them is not there yet.
NOT_YET = {"beat_init", "beat_embedded_init", "user_preload_options"}
#: Not had to happen here: shown by `tests/unit/test_logs.py` and `tests/unit/execution/test_tracer.py`.
ELSEWHERE = {"setup_logging", "task_internal_error"}
EVENTLET = {f"eventlet_pool_{what}" for what in ("started", "apply", "preshutdown", "postshutdown")}
#: A line: name, sender, arguments, some of their values.
Line = tuple[str, str, tuple[str, ...], str]


class Told:
    """A worker and the signals it noted."""

    def __init__(
        self, library: str, url: str, folder: Path, start: Callable[..., WorkerProcess], *options: str
    ) -> None:
        self.folder = folder / library
        self.folder.mkdir()
        self.path = self.folder / "signals"
        env = {
            "UMBEL_TEST_LIBRARY": library, "UMBEL_TEST_SIGNALS": str(self.path), "UMBEL_TEST_URL": url,
            "PYTHONWARNINGS": "ignore",
        }  # fmt: skip
        command: dict[str, Any] = {"command": CELERY} if library == "celery" else {}
        quiet = QUIET[:2] if library == "celery" else ()
        self.worker = start(
            folder, "-c", "1", "-n", "told@%h", *options, *quiet, env=env, app="apps.told", name=library, **command
        )
        self.client = Umbel("told-client", broker=url, backend=url, set_as_current=False)

    def lines(self) -> list[Line]:
        found = [json.loads(line) for line in notes(self.path)]
        lines = [(name, sender, tuple(given), json.dumps(shown)) for name, sender, given, shown in found]
        # A task of ours that fails for one whose process was killed; a task of Celery's that is being killed.
        return [line for line in lines if "umbel.fail_dependents" not in f"{line}" and '"state": null' not in line[3]]

    def wait_for(self, name: str, count: int = 1) -> None:
        wait_until(
            lambda: sum(line[0] == name for line in self.lines()) >= count, PATIENCE, f"{self.folder.name} {name}"
        )

    def live_shortly(self) -> None:
        """Has one task run."""
        self.worker.wait_ready(60)
        self.client.send_task("told.add", (1, 2)).get(timeout=PATIENCE)
        self.worker.stop(signal.SIGTERM)
        self.client.close()

    def live(self) -> None:
        """Has happen what can happen."""
        send = self.client.send_task
        self.worker.wait_ready(60)
        send("told.send").get(timeout=PATIENCE)
        send("told.retry").get(timeout=PATIENCE)
        send("told.fail").get(timeout=PATIENCE, propagate=False)
        send("told.reject").get(timeout=PATIENCE, propagate=False)
        send("told.unknown").get(timeout=PATIENCE, propagate=False)
        # No task at all.
        self.client.client.publish([{"headers": {}, "body": b"{}", "exchange": "", "routing_key": "celery"}])
        self.wait_for("task_rejected")
        send("told.add", (1, 2), expires=-1).get(timeout=PATIENCE, propagate=False)
        limited = send("told.limited", (str(self.folder / "never"),), time_limit=0.5)
        limited.get(timeout=PATIENCE, propagate=False)
        running = send("told.hold", (str(self.folder / "runs"), str(self.folder / "never")))
        wait_until(lambda: notes(self.folder / "runs"), PATIENCE, "a task that runs")
        running.revoke(terminate=True, signal="SIGKILL")
        running.get(timeout=PATIENCE, propagate=False)
        self.wait_for("task_revoked", 2)
        self.wait_for("heartbeat_sent")
        self.worker.stop(signal.SIGTERM)
        self.client.close()


@pytest.fixture(scope="module")
def told(redis_urls: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, str], list[Line]]]:
    """What a worker told, by its pool and library. All start at once, which takes them longest."""
    started: list[WorkerProcess] = []

    def start(folder: Path, *arguments: str, env: dict[str, str], **more: Any) -> WorkerProcess:
        started.append(WorkerProcess(folder, ("-l", "INFO", *arguments), env, **more))
        return started[-1]

    try:
        urls = iter(redis_urls)
        workers = {
            (pool, library): Told(library, next(urls), tmp_path_factory.mktemp(pool), start, "-P", pool)
            for pool in ("prefork", "eventlet")
            for library in ("celery", "umbel")
        }
        for (pool, _), worker in workers.items():
            worker.live() if pool == "prefork" else worker.live_shortly()
        lines = {key: worker.lines() for key, worker in workers.items()}
        yield lambda pool, library: lines[pool, library]
    finally:
        for worker in started:
            if worker.process.poll() is None:
                worker.process.kill()
                worker.process.wait()


def of(lines: list[Line], name: str) -> list[tuple[str, tuple[str, ...], str]]:
    """Senders, arguments and values of one signal, each time it was sent."""
    return sorted(line[1:] for line in lines if line[0] == name)


#: Sent as often as there are processes or seconds. Celery sends `task_failure` twice for a task at its hard limit, and
#: `task_rejected` not for a task that raised `Reject`.
OFTEN = {
    "worker_before_create_process", "worker_process_init", "worker_process_shutdown", "heartbeat_sent", "task_rejected",
    "task_failure",
}  # fmt: skip
PREFORK = sorted(set(SIGNALS) - {"Signal"} - NOT_YET - ELSEWHERE - EVENTLET)


@pytest.mark.parametrize("name", PREFORK)
def test_a_signal_is_celerys(told: Callable[[str, str], list[Line]], name: str) -> None:
    theirs, ours = of(told("prefork", "celery"), name), of(told("prefork", "umbel"), name)
    if name in OFTEN:
        theirs, ours = sorted(set(theirs)), sorted(set(ours))
    assert theirs
    assert ours == theirs


@pytest.mark.parametrize("name", sorted(EVENTLET))
def test_a_signal_of_the_eventlet_pool_is_celerys(told: Callable[[str, str], list[Line]], name: str) -> None:
    assert of(told("eventlet", "umbel"), name) == of(told("eventlet", "celery"), name) != []


def test_the_parity_page_says_what_is_sent() -> None:
    page = (Path(__file__).parents[2] / "docs" / "celery-parity.md").read_text()
    rows = dict(re.findall(r"^\| `celery\.signals\.(\w+)` \| (.*) \|$", page, re.MULTILINE))
    assert {name for name, status in rows.items() if status != "done"} == NOT_YET
    assert {name for name, status in rows.items() if status == "done"} == {*PREFORK, *ELSEWHERE, *EVENTLET}
