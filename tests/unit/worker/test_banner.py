"""What a worker shows when it starts."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from umbel.worker.banner import banner_lines, describe_url, show_banner


def banner(color: bool | None = None, tasks: int = 2) -> str:
    out = io.StringIO()
    names = [f"proj.task{number:02}" for number in range(tasks)]
    lines = banner_lines("w@h", "proj", "memory://", "none", "2 (prefork)", ["celery", "mail"], names)
    show_banner(lines, out, color)
    return out.getvalue()


def test_plain_where_it_is_no_terminal() -> None:
    text = banner()
    assert "\033" not in text
    for part in ("w@h", "proj", "memory://", "2 (prefork)", "celery", "mail", "proj.task00", "proj.task01"):
        assert part in text


def test_coloured_on_request() -> None:
    assert "\033[" in banner(color=True)


def test_many_tasks_are_cut() -> None:
    text = banner(tasks=100)
    assert "proj.task39" in text
    assert "proj.task40" not in text
    assert "... and 60 more" in text


def test_without_tasks_it_says_what_may_be_wrong() -> None:
    assert "are the modules imported?" in banner(tasks=0)


def test_urls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert describe_url("redis://u:secret@h/0", "-") == "redis://u:***@h/0"
    assert describe_url("sqlite:///umbel.sqlite3", "-") == f"sqlite:///umbel.sqlite3  ({tmp_path}/umbel.sqlite3)"
    assert describe_url(f"sqlite:///{tmp_path}/x", "-") == f"sqlite:///{tmp_path}/x"
    assert describe_url(None, "not stored") == "not stored"
