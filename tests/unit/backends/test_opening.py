"""From the setting to the store, and what is said when that does not work."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from umbel import Umbel
from umbel.backends import is_native, open_store, store_opener, store_settings
from umbel.backends.base import key_prefix, record_key
from umbel.exceptions import ImproperlyConfigured


@pytest.mark.parametrize("url", [None, "", "disabled", "disabled://", "memory://x", "redis+socket:///s", "SQLite:///x"])
def test_stores_of_the_core_are_left_to_it(url: str | None) -> None:
    assert is_native(url)
    assert store_opener(url, {}) is None


@pytest.mark.parametrize("url", ["file:///x", "db+sqlite:///x", "proj.results:Own", "proj.results.Own+x://y"])
def test_others_are_opened_when_they_are_needed(url: str) -> None:
    assert not is_native(url)
    assert store_opener(url, {}) is not None


@pytest.mark.parametrize(
    ("url", "module", "module_of_store", "words"),
    [
        ("db+sqlite://", "sqlalchemy", "umbel.backends.database", "umbel[sqlalchemy]"),
        ("cache+memcached://h/", "pymemcache.client.base", "umbel.backends.memcached", "umbel[memcache]"),
        ("mongodb://h/", "celery", "umbel.backends.celery_store", "umbel[celery]"),
    ],
)
def test_a_missing_package_is_named(
    url: str, module: str, module_of_store: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, module_of_store, raising=False)
    with pytest.raises(ImproperlyConfigured) as caught:
        open_store(url, {})
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nosuch://x", "names no known store; URLs begin with"),
        ("nosuch://user:secret@x", "nosuch://…"),
        ("db", "database_url"),
        ("db+nosuch://x", "nosuch"),
        ("db+mssql+nosuch://x", "nosuch"),
        ("file://", "the path of a folder"),
        ("file:///no/such/folder", "make it first"),
        ("cache+memcached:///", "needs a server"),
        ("no.such.module:Class", "cannot be used"),
        ("umbel.backends:Nothing", "cannot be used"),
    ],
)
def test_what_cannot_be_opened(url: str, words: str) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        open_store(url, {})
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


def test_stores_are_told_their_settings() -> None:
    app = Umbel(set_as_current=False, changes={"database_table_names": {"task": "t"}, "worker_concurrency": 3})
    settings = store_settings(app.conf)
    assert settings["database_table_names"] == {"task": "t"}
    assert {"result_serializer", "result_expires", "cache_backend", "accept_content"} <= settings.keys()
    assert "worker_concurrency" not in settings


@pytest.mark.parametrize(("given", "expected"), [(None, ""), ("app", "app_"), ("app:", "app:"), ("app_", "app_")])
def test_prefixes_are_joined_as_celery_joins_them(given: str | None, expected: str) -> None:
    options: dict[str, Any] = {"result_backend_transport_options": {"global_keyprefix": given} if given else None}
    assert key_prefix(options) == expected
    assert record_key("id") == "celery-task-meta-id"
    assert record_key("celery-taskset-meta-g") == "celery-taskset-meta-g"


def test_the_callback_of_an_engine_and_names_of_tables(tmp_path: Path) -> None:
    import sqlalchemy

    seen: list[Any] = []
    names = {"task": "own_tasks", "group": "own_groups"}
    settings: dict[str, Any] = {"database_engine_callback": seen.append, "database_table_names": names}
    store = open_store(f"db+sqlite:///{tmp_path}/x.sqlite3", settings)
    (engine,) = seen
    assert {"own_tasks", "own_groups"} <= set(sqlalchemy.inspect(engine).get_table_names())
    store.close()
    again = open_store("database", {**settings, "database_url": f"sqlite:///{tmp_path}/x.sqlite3"})
    assert again.read(["x"]) == [None]
    again.close()


def test_a_table_without_later_columns_gets_them(tmp_path: Path) -> None:
    import sqlalchemy

    url = f"sqlite:///{tmp_path}/old.sqlite3"
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.execute(
            sqlalchemy.text(
                "CREATE TABLE celery_taskmeta (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,"
                " task_id VARCHAR(155) UNIQUE, status VARCHAR(50), result BLOB, date_done DATETIME, traceback TEXT)"
            )
        )
    store = open_store(f"db+{url}", {})
    store.write([("x", "SUCCESS", b'{"status": "SUCCESS", "result": 1, "attempts": []}', None)])
    assert b'"attempts": []' in (store.read(["x"])[0] or b"")
    store.close()
    engine.dispose()
