"""The examples of the documentation run: all Python blocks of a page, in order, as one program."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
#: Pages that say so in a comment.
MARK = "run by tests/unit/test_doc_examples.py"
PAGES = [path for path in sorted(PROJECT.glob("docs/**/*.md")) if MARK in path.read_text()]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def program(page: Path) -> str:
    """The page's blocks, each at its own line numbers, so that a traceback names lines of the page."""
    text = page.read_text()
    lines = ["\n"] * text.count("\n")
    for block in BLOCK.finditer(text):
        first = text.count("\n", 0, block.start(1))
        lines[first : first + block[1].count("\n")] = block[1].splitlines(keepends=True)
    return "".join(lines)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples_run(page: Path, tmp_path: Path) -> None:
    code = program(page)
    assert code.strip(), "the page says that its examples are run, and has none"
    script = tmp_path / f"{page.stem.replace('-', '_')}.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    run = subprocess.run(
        [sys.executable, script.name], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stdout + run.stderr
