"""Both type checkers accept the right programs and refuse exactly the wrong lines of the others."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CASES = Path(__file__).parent / "cases"

#: Lines of a file that a checker complains about, with the complaint.
Complaints = dict[int, str]


def run_mypy(path: Path, cache: Path) -> Complaints:
    pytest.importorskip("mypy")
    command = [
        sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--show-absolute-path", "--no-pretty",
        "--hide-error-context", "--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(cache), str(path),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = re.findall(rf"^{re.escape(str(path))}:(\d+)(?::\d+)?: error: (.*)$", done.stdout, re.MULTILINE)
    others = [line for line in done.stdout.splitlines() if ": error:" in line and not line.startswith(str(path))]
    assert not others, others
    return {int(line): text for line, text in found}


def run_pyright(path: Path, _cache: Path) -> Complaints:
    pyright = shutil.which("pyright", path=str(Path(sys.executable).parent)) or shutil.which("pyright")
    if pyright is None:
        pytest.skip("pyright is not installed")
    command = [pyright, "--outputjson", "--pythonpath", sys.executable, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == 1
    errors = [item for item in report["generalDiagnostics"] if item["severity"] == "error"]
    return {item["range"]["start"]["line"] + 1: item["message"] for item in errors}


CHECKERS = [pytest.param(run_mypy, id="mypy"), pytest.param(run_pyright, id="pyright")]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("check", CHECKERS)
def test_right_programs(check: Callable[[Path, Path], Complaints], tmp_path: Path) -> None:
    assert check(CASES / "accepted.py", tmp_path) == {}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("check", CHECKERS)
def test_wrong_lines(check: Callable[[Path, Path], Complaints], tmp_path: Path) -> None:
    path = CASES / "refused.py"
    wrong = {number for number, line in enumerate(path.read_text().splitlines(), 1) if line.endswith("# wrong")}
    found = check(path, tmp_path)
    assert len(wrong) > 15
    assert wrong - set(found) == set(), "these lines were accepted"
    assert set(found) - wrong == set(), [found[line] for line in set(found) - wrong]
