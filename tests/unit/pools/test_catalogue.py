"""What `-P` and `worker_pool` take."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from umbel import Umbel
from umbel.exceptions import ImproperlyConfigured
from umbel.pools.base import AppSource, Pool
from umbel.pools.catalogue import CUSTOM, POOLS, pool_class
from umbel.pools.description import LoadRequest
from umbel.pools.prefork import PreforkPool
from umbel.pools.threads import ThreadsPool


class OwnPool(ThreadsPool):
    """As a user would write it."""

    name = "own"


def source(path: str | None = "proj") -> AppSource:
    app = None if path else Umbel("proj", broker="memory://", set_as_current=False)
    return AppSource(path, app, None, LoadRequest("w@h"))


def test_every_name_is_its_class() -> None:
    for name in POOLS:
        found = pool_class(name)
        assert issubclass(found, Pool)
        assert found.name == name


@pytest.mark.parametrize("name", [None, "", "prefork", "processes", "celery.concurrency.prefork:TaskPool"])
def test_names_of_prefork(name: str | None) -> None:
    assert pool_class(name) is PreforkPool


def test_celery_s_thread_pool() -> None:
    assert pool_class("celery.concurrency.thread:TaskPool") is ThreadsPool


@pytest.mark.parametrize("separator", [":", "."])
def test_a_class_by_its_path(separator: str) -> None:
    found = pool_class(f"{OwnPool.__module__}{separator}OwnPool")
    assert found.__name__ == "OwnPool"


def test_a_class_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CUSTOM, f"{OwnPool.__module__}:OwnPool")
    assert pool_class("custom").__name__ == "OwnPool"
    monkeypatch.delenv(CUSTOM)
    with pytest.raises(ImproperlyConfigured, match=CUSTOM):
        pool_class("custom")


@pytest.mark.parametrize(("name", "said"), [
    ("thread", "did you mean 'threads'"),
    ("nothing", "use one of prefork, asyncio"),
    ("no_such_module:Class", "cannot be imported"),
    ("umbel.pools.threads:Nobody", "cannot be imported"),
    ("umbel.pools.threads:SharedLink", "no class derived from"),
])  # fmt: skip
def test_what_is_no_pool(name: str, said: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=said):
        pool_class(name)


@pytest.mark.parametrize("name", ["gevent", "eventlet"])
def test_greenlets_need_their_library(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ImproperlyConfigured, match=rf"pip install 'umbel\[{name}\]'"):
        pool_class(name)(source())


@pytest.mark.parametrize("name", ["gevent", "eventlet"])
def test_greenlets_need_an_app_that_is_not_imported_yet(name: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"umbel -A module worker -P {name}"):
        pool_class(name)(source(None))


@pytest.mark.parametrize("name", ["gevent", "eventlet"])
def test_greenlets_are_patched_before_anything_is_imported(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    found: Any = pool_class(name)(source())
    option, program, argument = found._program("umbel.pools.spawned", "setup")
    assert (option, argument) == ("-c", "setup")
    assert program.index("patch") < program.index("umbel")
    monkeypatch.setenv(f"{name.upper()}_NOPATCH", "1")
    assert "patch" not in found._program("umbel.pools.spawned")[1]
