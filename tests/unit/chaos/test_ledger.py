"""The ledger: lines of many writers, read while they grow."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from chaos.ledger import ATTEMPT, CONFIRMED, START, Entry, Ledger, Tail, parse, read, with_due
from chaos.proxy import Reader


def test_an_entry_is_read_as_it_was_written() -> None:
    for detail in ("", "nap", "delayed@1200", "two words"):
        entry = Entry(12, ATTEMPT, "p1-1.0", 2, 345, "p1-1", detail)
        assert parse(entry.line().decode()) == entry


def test_the_due_moment_of_an_attempt() -> None:
    entry = Entry(12, ATTEMPT, "p1-1.0", 0, 1, "p1-1", "delayed@1200")
    assert (entry.kind, entry.due) == ("delayed", 1200)
    assert Entry(12, ATTEMPT, "p1-1.0", 0, 1, "p1-1", with_due("nap", None)).due == 0
    assert Entry(12, ATTEMPT, "p1-1.0", 0, 1, "p1-1", with_due("delayed", 0.0)).due > 0


def test_a_broken_line_is_an_error() -> None:
    with pytest.raises(ValueError, match="not enough values"):
        parse("12 start")


def test_writers_append_and_a_tail_follows(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    ours, theirs = Ledger(path, "p1-1"), Ledger(path)
    tail = Tail(path)
    assert list(tail.entries()) == []
    ours.note(CONFIRMED, ["a", "b"])
    theirs.note(START, ["a"], 1, by="w1-1")
    seen = list(tail.entries())
    assert [(entry.event, entry.id, entry.attempt, entry.by) for entry in seen] == [
        (CONFIRMED, "a", 0, "p1-1"),
        (CONFIRMED, "b", 0, "p1-1"),
        (START, "a", 1, "w1-1"),
    ]
    assert {entry.pid for entry in seen} == {os.getpid()}
    assert list(read(path)) == seen
    tail.close()


def test_a_tail_waits_for_the_end_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    line = Entry(12, START, "a", 0, 1, "w1-1", "").line()
    path.write_bytes(line[:5])
    tail = Tail(path)
    assert list(tail.entries()) == []
    with open(path, "ab") as more:
        more.write(line[5:])
    assert [entry.id for entry in tail.entries()] == ["a"]
    tail.close()


def test_task_ids_are_found_once_wherever_a_stream_is_cut() -> None:
    stream = b'$120\r\n{"headers": {"lang": "py", "id": "p1-2.34", "root_id": "p1-2.34"}} {"id": "p2-1.5"}\r\n'
    for cut in range(len(stream)):
        reader = Reader()
        assert reader.ids(stream[:cut]) + reader.ids(stream[cut:]) == ["p1-2.34", "p2-1.5"], cut
