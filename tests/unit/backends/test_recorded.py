"""What stores hold, beside what Celery's were recorded to hold."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

from umbel.backends import open_store

VECTORS = Path(__file__).parents[2] / "wire" / "vectors"
RECORD = {
    "status": "SUCCESS",
    "result": {"a": 1},
    "traceback": None,
    "children": None,
    "date_done": "2026-11-22T19:19:19+00:00",
}


def recorded(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((VECTORS / f"{name}.json").read_text())["captured"]
    return found


def columns(connection: sqlite3.Connection, table: str) -> dict[str, str]:
    return {row[1]: row[2] for row in connection.execute(f"PRAGMA table_info({table})")}


def test_tables_are_celerys_and_a_column(tmp_path: Path) -> None:
    captured = recorded("result_database")
    theirs = sqlite3.connect(":memory:")
    for statement in captured["schema"]:
        if statement and "sqlite_sequence" not in statement:
            theirs.execute(statement)
    store = open_store(f"db+sqlite:///{tmp_path}/ours.sqlite3", {})
    row = captured["celery_taskmeta"][0]
    failed = captured["celery_taskmeta"][1]
    group = captured["celery_tasksetmeta"][0]
    store.write(
        [
            (row[1], "SUCCESS", json.dumps({**RECORD, "task_id": row[1]}).encode(), None),
            (
                failed[1],
                "FAILURE",
                json.dumps({"status": "FAILURE", "result": json.loads(failed[3]), "traceback": "TB"}).encode(),
                None,
            ),
            (f"celery-taskset-meta-{group[1]}", "", json.dumps({"result": json.loads(group[2])}).encode(), None),
        ]
    )
    store.close()
    ours = sqlite3.connect(tmp_path / "ours.sqlite3")
    try:
        assert columns(ours, "celery_taskmeta") == {**columns(theirs, "celery_taskmeta"), "attempts": "BLOB"}
        assert columns(ours, "celery_tasksetmeta") == columns(theirs, "celery_tasksetmeta")
        shown = "task_id, status, CAST(result AS TEXT), traceback, children, name, args"
        found = ours.execute(f"SELECT {shown} FROM celery_taskmeta ORDER BY id").fetchall()
        assert [list(one) for one in found] == [[*one[1:4], *one[5:9]] for one in (row, failed)]
        assert ours.execute("SELECT taskset_id, CAST(result AS TEXT) FROM celery_tasksetmeta").fetchall() == [
            (group[1], group[2])
        ]
    finally:
        ours.close()
        theirs.close()


def test_files_are_celerys(tmp_path: Path) -> None:
    captured = recorded("result_filesystem")
    store = open_store(f"file://{tmp_path}", {})
    for key, content in captured.items():
        name = key.removeprefix("celery-task-meta-")
        store.write([(name, "SUCCESS", content.encode(), None)])
        assert store.read([name]) == [content.encode()]
    held = {path.name: path.read_text() for path in tmp_path.iterdir() if not path.name.startswith(".")}
    assert held == captured
