"""Several workers, and workers that are started in other ways."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from pathlib import Path

from apps import script
from apps.basic import notes
from servers.stack import PATIENCE
from servers.worker_process import StartWorker, alive, children_of, urls, wait_until

from umbel import Umbel


def test_workers_share_a_queue_and_run_everything_once(
    app: Umbel, url: str, tmp_path: Path, start_worker: StartWorker
) -> None:
    path = tmp_path / "notes"
    workers = [start_worker("-c", "2", "-n", f"w{number}", env=urls(url)) for number in range(2)]
    for worker in workers:
        worker.wait_ready()
    sent = [app.tasks["basic.note"].delay(str(path), f"task-{number}", 0.005) for number in range(300)]
    asked = [app.tasks["basic.request"].delay() for _ in range(60)]
    assert [result.get(timeout=60) for result in sent] == [f"task-{number}" for number in range(300)]
    assert Counter(notes(path)) == Counter(f"task-{number}" for number in range(300))
    assert len({result.get(timeout=PATIENCE)["hostname"].partition("@")[0] for result in asked}) == 2


def test_a_program_runs_its_own_worker(url: str, start_worker: StartWorker) -> None:
    """Its fork server is a fork of the program; when that dies, the program starts again."""
    command = (sys.executable, "-W", "error", script.__file__)
    worker = start_worker("-c", "1", env=urls(url), command=command).wait_ready()
    client = Umbel("client", broker=url, backend=url, set_as_current=False)
    assert client.send_task("script.add", (1, 2)).get(timeout=PATIENCE) == 3
    os.kill(worker.zygote(), signal.SIGKILL)
    worker.wait_for(r"Restarting: the fork server \(pid \d+\) ended: signal 9")
    wait_until(lambda: worker.log().count(" ready.") == 2, 30, "the second start")
    assert client.send_task("script.add", (2, 2)).get(timeout=PATIENCE) == 4
    assert worker.stop() == 0, worker.log()


def test_children_with_an_interpreter_of_their_own_do_not_outlive_the_worker(
    url: str, start_worker: StartWorker
) -> None:
    worker = start_worker("-c", "2", env=urls(url), app="apps.threaded").wait_ready()
    client = Umbel("client", broker=url, backend=url, set_as_current=False)
    assert client.send_task("threaded.alive").get(timeout=PATIENCE) is True
    family = wait_until(lambda: found if len(found := children_of(worker.pid)) == 3 else [], 10, "zygote and children")
    worker.send_signal(signal.SIGKILL)
    worker.process.wait()
    wait_until(lambda: not any(alive(pid) for pid in family), 5, "the end of them all")
