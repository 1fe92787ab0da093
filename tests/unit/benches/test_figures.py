"""Figures as Markdown."""

from __future__ import annotations

from pathlib import Path

import pytest
from benches import figures
from benches.failure import PeerFailed
from benches.results import Results, read
from benches.scenarios import SCENARIOS

MACHINE = {"cpus": 2, "processor": "P", "memory_gb": 4, "kernel": "6", "disk": "ext4", "load_before": 0.1}


@pytest.fixture
def results() -> Results:
    circumstances = {
        "machine": MACHINE,
        "run": {"began": "today", "rounds": 2, "seconds": 2.0},
        "redis": {"version": "7.0.15", "appendonly": "yes", "appendfsync": "everysec"},
        "peers": {
            "umbel-prefork": {"versions": {"umbel": "0.1.0"}, "settings": {}},
            "celery-prefork": {"versions": {"celery": "5.7.0"}, "settings": {}},
            "arq": {"versions": None, "settings": {}},
        },
    }
    found = Results(circumstances, failures={("rq", "drain"): PeerFailed("too slow", "log")})
    for rate in (2000.0, 3000.0):
        found.add("umbel-prefork", {"drain": {"per_second": rate}, "cost": {"commands": 1.5}})
    found.add("celery-prefork", {"drain": {"per_second": 100.0}})
    return found


def test_tables_name_what_was_measured(results: Results) -> None:
    text = figures.markdown(results)
    assert "| umbel-prefork | 2,500<br>(2,000 - 3,000) |" in text
    assert "| celery-prefork | 100 |" in text
    assert "arq" not in text
    assert "celery 5.7.0" in text
    assert "| drain with results, prefork, to Celery's ≥ 25 times | 25 times | met |" in text


def test_every_column_is_a_figure_of_its_scenario() -> None:
    for name, key in (column for columns in figures.COLUMNS for column in columns):
        assert key in {metric.key for metric in SCENARIOS[name].metrics}


def test_they_replace_what_stands_between_the_marks(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = tmp_path / "README.md"
    document.write_text("before\n<!-- figures -->\nold\n<!-- end of figures -->\nafter\n")
    results.write(tmp_path / "run.json")
    monkeypatch.setattr(figures, "DOCUMENT", document)
    monkeypatch.setattr("sys.argv", ["figures", str(tmp_path / "run.json"), "--write"])
    assert figures.main() == 0
    text = document.read_text()
    assert text.startswith("before\n<!-- figures -->\ntoday: 2 CPUs")
    assert text.endswith("<!-- end of figures -->\nafter\n")
    assert "old" not in text
    assert figures.BLOCK.search(Path(figures.__file__).with_name("README.md").read_text())


def test_what_is_written_can_be_read(results: Results, tmp_path: Path) -> None:
    results.write(tmp_path / "run.json")
    found = read(tmp_path / "run.json")
    assert found.figures == results.figures
    assert found.failures["rq", "drain"].reason == "too slow"
