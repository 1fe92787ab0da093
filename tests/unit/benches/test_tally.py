"""The counter outside of any broker."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from benches.tally import Tally


def test_threads_and_forked_processes_lose_no_count(tmp_path: Path) -> None:
    tally = Tally(tmp_path / "tally")
    tally.add()

    def count() -> None:
        for _ in range(5000):
            tally.add()

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    child = os.fork()
    if child == 0:
        count()
        os._exit(0)
    count()
    os.waitpid(child, 0)
    assert tally.wait(30_001, seconds=5) == 30_001
    assert Tally(tmp_path / "tally").total() == 30_001


def test_waiting_ends(tmp_path: Path) -> None:
    tally = Tally(tmp_path / "tally")
    tally.add()
    with pytest.raises(TimeoutError, match="1 of 2 tasks"):
        tally.wait(2, seconds=0.01)
    tally.clear()
    assert tally.total() == 0
