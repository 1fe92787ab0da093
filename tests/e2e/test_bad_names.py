"""Two workers under one name: each is told apart by more than that, so nothing is lost or taken from the other."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

from apps.basic import notes
from servers.stack import PATIENCE
from servers.worker_process import StartWorker, urls, wait_until

from umbel import Umbel


def test_two_workers_of_one_name_share_the_work_and_survive_each_other(
    app: Umbel, url: str, tmp_path: Path, start_worker: StartWorker
) -> None:
    path, until = tmp_path / "notes", tmp_path / "until"
    # Each takes what it can run at once, so that both have something.
    options = ("-c", "1", "-n", "twin@here", "--prefetch-multiplier", "1")
    workers = [start_worker(*options, env=urls(url)).wait_ready() for _ in range(2)]
    held = [app.tasks["basic.hold"].delay(str(path), str(until), f"held-{number}") for number in range(2)]
    wait_until(lambda: len(notes(path)) == 2, PATIENCE, "a running task at each")
    more = [app.tasks["basic.note"].delay(str(tmp_path / "more"), f"task-{number}") for number in range(20)]
    # The one that stops takes nothing of the other's with it.
    workers[0].send_signal(signal.SIGQUIT)
    assert workers[0].process.wait(PATIENCE) == 0
    until.touch()
    assert sorted(result.get(timeout=PATIENCE) for result in held) == ["held-0", "held-1"]
    assert {result.get(timeout=PATIENCE) for result in more} == {f"task-{number}" for number in range(20)}
    runs = Counter(line.split()[0] for line in notes(path))
    assert sorted(runs.values()) == [1, 2], "only what the stopped one was running ran again"
    assert max(Counter(notes(tmp_path / "more")).values()) == 1
    assert workers[1].stop() == 0
