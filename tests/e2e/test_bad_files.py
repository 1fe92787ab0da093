"""SQLite files that cannot be used: the first task says which file and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from apps import basic

from umbel.exceptions import ImproperlyConfigured, OperationalError


def _publish(path: Path) -> None:
    url = f"sqlite:///{path}"
    basic.build(broker_url=url, result_backend=url).tasks["basic.add"].apply_async((1, 1), retry=False)


def test_another_kind_of_file_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    content = b"not a database" * 1000
    path.write_bytes(content)
    with pytest.raises(ImproperlyConfigured, match="not a SQLite database"):
        _publish(path)
    assert path.read_bytes() == content


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"no/such cannot be used: .*create it"):
        _publish(tmp_path / "no" / "such" / "umbel.sqlite3")


def test_a_name_that_is_too_long_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OperationalError):
        _publish(tmp_path / ("a" * 300))
