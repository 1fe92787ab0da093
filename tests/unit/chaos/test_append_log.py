"""How a message left its list, read from an append-only file."""

from __future__ import annotations

import io
from pathlib import Path

from chaos.append_log import commands, popped


def written(*commands: tuple[str, ...]) -> bytes:
    return b"".join(
        f"*{len(command)}\r\n".encode() + b"".join(f"${len(word.encode())}\r\n{word}\r\n".encode() for word in command)
        for command in commands
    )


def message(number: int) -> str:
    return f'{{"headers": {{"id": "p1-1.{number}", "root_id": "p1-1.{number}"}}}}'


PUSHED = [("LPUSH", "celery", message(number)) for number in range(4)]


def left(folder: Path, *after: tuple[str, ...]) -> set[str]:
    (folder / "appendonly.aof.1.incr.aof").write_bytes(written(("SELECT", "0"), *PUSHED, *after))
    return popped(folder, [f"p1-1.{number}" for number in range(4)])


def test_the_oldest_is_popped_first(tmp_path: Path) -> None:
    assert left(tmp_path, ("RPOP", "celery")) == {"p1-1.0"}


def test_what_a_script_took_was_not_popped(tmp_path: Path) -> None:
    assert left(tmp_path, ("LTRIM", "celery", "0", "-3"), ("RPOP", "celery")) == {"p1-1.2"}


def test_the_last_time_counts(tmp_path: Path) -> None:
    assert left(tmp_path, ("RPOP", "celery"), ("RPUSH", "celery", message(0)), ("LTRIM", "celery", "0", "-2")) == set()


def test_other_lists_are_other_lists(tmp_path: Path) -> None:
    assert left(tmp_path, ("RPOP", "another")) == set()
    assert left(tmp_path, ("DEL", "celery"), ("RPOP", "celery")) == set()


def test_a_file_that_was_cut_short_is_read_up_to_there() -> None:
    whole = written(("SET", "key", "value"), ("DEL", "key"))
    first = [b"SET", b"key", b"value"]
    for cut in range(len(written(("SET", "key", "value"))), len(whole)):
        assert next(commands(io.BytesIO(whole[:cut]))) == first


def test_annotations_are_skipped() -> None:
    assert list(commands(io.BytesIO(b"#TS:1700000000\r\n" + written(("DEL", "key"))))) == [[b"DEL", b"key"]]
