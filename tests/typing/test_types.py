"""Both type checkers accept the right programs and refuse exactly the wrong lines of the others."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CASES = Path(__file__).parent / "cases"

#: Lines of a file that a checker complains about, with the complaint.
Complaints = dict[int, str]


def run_mypy(paths: Sequence[Path]) -> dict[str, Complaints]:
    """By the name of the file. What `make lint` found out about the package is in its cache, and is used."""
    pytest.importorskip("mypy")
    command = [
        sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--show-absolute-path", "--no-pretty",
        "--hide-error-context", "--config-file", str(ROOT / "pyproject.toml"), *map(str, paths),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found: dict[str, Complaints] = {path.name: {} for path in paths}
    for path, line, text in re.findall(r"^(.*?):(\d+)(?::\d+)?: error: (.*)$", done.stdout, re.MULTILINE):
        assert Path(path) in paths, done.stdout
        found[Path(path).name][int(line)] = text
    return found


def run_pyright(paths: Sequence[Path]) -> dict[str, Complaints]:
    pyright = shutil.which("pyright", path=str(Path(sys.executable).parent)) or shutil.which("pyright")
    if pyright is None:
        pytest.skip("pyright is not installed")
    command = [pyright, "--outputjson", "--pythonpath", sys.executable, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == len(paths)
    found: dict[str, Complaints] = {path.name: {} for path in paths}
    for item in report["generalDiagnostics"]:
        if item["severity"] == "error":
            found[Path(item["file"]).name][item["range"]["start"]["line"] + 1] = item["message"]
    return found


@pytest.fixture(scope="module", params=[run_mypy, run_pyright], ids=["mypy", "pyright"])
def complaints(request: pytest.FixtureRequest) -> dict[str, Complaints]:
    """Of one checker, which takes its time to start."""
    found: dict[str, Complaints] = request.param([CASES / "accepted.py", CASES / "refused.py"])
    return found


@pytest.mark.timeout(300)
def test_right_programs(complaints: dict[str, Complaints]) -> None:
    assert complaints["accepted.py"] == {}


@pytest.mark.timeout(300)
def test_wrong_lines(complaints: dict[str, Complaints]) -> None:
    lines = (CASES / "refused.py").read_text().splitlines()
    wrong = {number for number, line in enumerate(lines, 1) if line.endswith("# wrong")}
    found = complaints["refused.py"]
    assert len(wrong) > 15
    assert wrong - set(found) == set(), "these lines were accepted"
    assert set(found) - wrong == set(), [found[line] for line in set(found) - wrong]
