"""The benchmark harness from end to end: Umbel alone, with intervals of a moment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from benches import crowd, results
from benches.peers import PEERS
from benches.run import main
from benches.scenarios import MEASUREMENTS
from servers.redis_server import require_redis

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers and clients are processes in folders of their own."""
    path = os.pathsep.join([str(ROOT / "python"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)


def run_bench(output: Path, *scenarios: str, peer: str = "umbel-sqlite") -> int:
    return main(
        ["--peers", peer, "--rounds", "1", "--seconds", "0.05", "--most", "200", "--plots", "none",
         "--output", str(output), "--scenarios", *scenarios]
    )  # fmt: skip


def test_figures_of_a_whole_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "figures.json"
    wanted = ["publish", "drain", "latency", "footprint"]
    status = run_bench(output, *wanted)
    shown = capsys.readouterr().out
    assert status == 0, shown
    found = results.read(output)
    assert not found.failures
    scenarios = {scenario.name: scenario for name in wanted for scenario in MEASUREMENTS[name].scenarios}
    assert found.figures.keys() == scenarios.keys()
    for name, scenario in scenarios.items():
        figures = found.figures[name]["umbel-sqlite"]
        assert scenario.headline.key in figures
        assert all(len(values) == 1 for values in figures.values())
    assert 100 <= found.figures["drain"]["umbel-sqlite"]["count"][0] <= 200
    assert found.figures["drain"]["umbel-sqlite"]["repeated"] == [0]
    assert found.figures["round-trip"]["umbel-sqlite"]["p50"][0] > 0
    assert found.figures["footprint"]["umbel-sqlite"]["memory"][0] > 5
    assert "synchronous=FULL" in shown
    assert "SQLite: round trip p50" in shown


def test_what_a_task_costs_redis(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    require_redis()
    output = tmp_path / "figures.json"
    status = run_bench(output, "drain-no-results", peer="umbel-threads")
    shown = capsys.readouterr().out
    assert status == 0, shown
    found = results.read(output).figures["cost-no-results"]["umbel-threads"]
    assert 0 < found["commands"][0] < 50
    assert found["bytes_out"][0] > 200, "a message alone is longer"
    assert "appendfsync: everysec" in shown


def test_workflows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    require_redis()
    output = tmp_path / "figures.json"
    status = main(
        ["--peers", "umbel-threads", "celery-prefork", "--rounds", "1", "--seconds", "0.05", "--most", "5",
         "--plots", "none", "--output", str(output), "--scenarios", "workflows"]
    )  # fmt: skip
    shown = capsys.readouterr().out
    assert status == 0, shown
    found = results.read(output)
    assert not found.failures
    for scenario in MEASUREMENTS["workflows"].scenarios:
        for peer in ("umbel-threads", "celery-prefork"):
            figures = found.figures[scenario.name][peer]
            assert 0 < figures["sending"][0] < figures["seconds"][0]
            assert figures["megabytes"][0] > 0


def test_a_failure_of_ours_is_shown_with_its_log_and_in_the_exit_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Before the project's own folder on the path there is a umbel that cannot be imported by a client.
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "umbel.py").write_text("__version__ = '0'\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'broken'}{os.pathsep}{os.environ['PYTHONPATH']}")
    assert run_bench(tmp_path / "figures.json", "publish") == 1
    shown = capsys.readouterr().out
    assert "umbel-sqlite failed at publish" in shown
    assert "cannot import name 'AsyncResult'" in shown
    assert json.loads((tmp_path / "figures.json").read_text())["failures"][0]["peer"] == "umbel-sqlite"


def test_a_peer_that_is_not_installed_is_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # The interpreter of the tests has no environment beside it that holds ARQ.
    status = main(
        ["--peers", "arq", "--rounds", "1", "--scenarios", "publish", "--plots", "none",
         "--output", str(tmp_path / "figures.json")]
    )  # fmt: skip
    assert status == 0
    assert "not installed" in capsys.readouterr().out


def test_help_names_every_peer_and_scenario() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benches.run", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    # Names are broken at their hyphens.
    shown = "".join(done.stdout.split())
    assert [name for name in (*PEERS, *MEASUREMENTS) if name not in shown] == []


def test_a_crowd_of_coroutines(capsys: pytest.CaptureFixture[str]) -> None:
    assert crowd.main(["--tasks", "50", "--nap", "0.5"]) == 0
    assert capsys.readouterr().out.startswith("50 of 50 tasks at a time in one process, ")
