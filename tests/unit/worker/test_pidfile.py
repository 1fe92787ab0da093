"""Two workers do not share a pidfile; a dead one's is taken over."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from umbel.worker.pidfile import PidFile, PidFileTakenError


def test_written_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "worker.pid"
    pidfile = PidFile(str(path))
    pidfile.acquire()
    assert path.read_text() == f"{os.getpid()}\n"
    pidfile.release()
    assert not path.exists()


def test_taken_by_a_live_process(tmp_path: Path) -> None:
    path = tmp_path / "worker.pid"
    path.write_text(f"{os.getppid()}\n")
    with pytest.raises(PidFileTakenError, match=str(os.getppid())):
        PidFile(str(path)).acquire()
    assert path.read_text() == f"{os.getppid()}\n"


@pytest.mark.parametrize("content", ["gone", "", "not a number"])
def test_left_over(tmp_path: Path, content: str) -> None:
    path = tmp_path / "worker.pid"
    if content == "gone":
        process = subprocess.Popen([sys.executable, "-c", ""])
        process.wait()
        content = str(process.pid)
    path.write_text(content)
    pidfile = PidFile(str(path))
    pidfile.acquire()
    assert path.read_text() == f"{os.getpid()}\n"
    pidfile.release()


def test_another_s_file_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "worker.pid"
    pidfile = PidFile(str(path))
    pidfile.acquire()
    path.write_text(f"{os.getppid()}\n")
    pidfile.release()
    assert path.exists()


def test_it_is_there_with_its_content_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "worker.pid"
    seen: list[tuple[bool, str]] = []
    link = os.link

    def looking(source: Path, target: Path) -> None:
        seen.append((path.exists(), source.read_text()))
        link(source, target)

    monkeypatch.setattr(os, "link", looking)
    PidFile(str(path)).acquire()
    assert seen == [(False, f"{os.getpid()}\n")]
    assert [found.name for found in tmp_path.iterdir()] == ["worker.pid"]
