"""What `make profile` says when a sampler is missing or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from benches import profile


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in which programs are found."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_a_sampler_that_is_refused(programs: Path, tmp_path: Path) -> None:
    program(programs / "perf", "echo 'No permission to enable cycles' >&2; exit 255")
    with pytest.raises(OSError, match=r"perf_event_paranoid=1[^$]*No permission to enable"):
        profile.sample_perf(1, 0.1, tmp_path)


def test_a_sampler_that_is_missing(programs: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="perf is not installed"):
        profile.sample_perf(1, 0.1, tmp_path)


def test_stacks_come_from_what_perf_prints(programs: Path, tmp_path: Path) -> None:
    stacks = "printf 'worker\\n\\t 7f01 inner\\n\\t 7f02 outer\\n\\n'"
    program(programs / "perf", f'test "$1" = script && {stacks}; exit 0')
    assert profile.sample_perf(1, 0.1, tmp_path) == {("worker", "outer", "inner"): 1}


def test_a_package_with_another_extension(tmp_path: Path) -> None:
    extension = tmp_path / "lib_native.so"
    extension.touch()
    package = profile.with_extension(tmp_path, extension) / "umbel"
    assert (package / "_native.so").resolve() == extension
    assert (package / "app" / "app.py").exists()
    assert [path.name for path in package.glob("*.so")] == ["_native.so"]
    with pytest.raises(FileNotFoundError):
        profile.with_extension(tmp_path / "again", tmp_path / "missing.so")
