"""Every example in the documentation runs, and does what its page says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from blocks import PAGES, PROJECT, blocks_of
from servers.redis_server import RedisServer

HERE = Path(__file__).parent
PLUGIN = "umbel.testing.plugin"
#: Addresses in pages that stand for a server.
REDIS = "redis://localhost"
WITH_EXAMPLES = [page for page in PAGES if any(block.kind != "left-out" for block in blocks_of(page))]


def run_page(page: Path, folder: Path, servers: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs the page's examples in a folder of their own."""
    work = folder / "work"
    work.mkdir()
    path = os.pathsep.join([str(PROJECT / "python"), str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("UMBEL_", "CELERY_"))}
    environment.update(
        PYTHONPATH=path, PYTHONWARNINGS="error", PYTHONUNBUFFERED="1", PYTHONDONTWRITEBYTECODE="1", COLUMNS="250",
        NO_COLOR="1", TERM="dumb", LC_ALL="C.UTF-8", PAGE_SERVERS=json.dumps(servers),
    )  # fmt: skip
    if not any(entry.value == PLUGIN for entry in entry_points(group="pytest11")):
        # Umbel is not installed, but on the path.
        environment["PYTEST_ADDOPTS"] = f"-p {PLUGIN}"
    command = [sys.executable, "-c", "import run_page; run_page.main()", str(page), str(work)]
    return subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=110
    )


@pytest.fixture
def servers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Those that the page names, each of its own."""
    page: Path = request.getfixturevalue("page")
    if not any(REDIS in block.text for block in blocks_of(page) if block.kind != "left-out"):
        yield {}
        return
    server = RedisServer(tmp_path)
    yield {REDIS: f"redis://127.0.0.1:{server.port}"}
    server.stop()


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=lambda page: page.stem)
def test_every_example_of_a_page_runs(page: Path, tmp_path: Path, servers: dict[str, str]) -> None:
    done = run_page(page, tmp_path, servers)
    assert done.returncode == 0, done.stdout


def test_few_examples_are_left_out() -> None:
    found = [block for page in PAGES for block in blocks_of(page)]
    left_out = [f"{block.place}: {block.reason}" for block in found if block.kind == "left-out"]
    assert len(found) > 100
    assert len(left_out) <= len(found) / 8, "\n".join(left_out)


def test_every_page_is_in_the_index() -> None:
    index = (PROJECT / "docs" / "README.md").read_text()
    assert not [page.name for page in (PROJECT / "docs").glob("*.md") if f"({page.name})" not in index + "(README.md)"]
