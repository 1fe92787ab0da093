"""A client on each store that needs no server."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from umbel._native import Client, set_json_fallback
from umbel.serialization import json as registered

_names = itertools.count()


@pytest.fixture(params=["memory", "sqlite"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store."""
    if request.param == "memory":
        return f"memory://native-{next(_names)}"
    return f"sqlite:///{tmp_path / 'store.sqlite3'}"


@pytest.fixture
def client(store_url: str) -> Iterator[Client]:
    made = Client(store_url, store_url, {})
    yield made
    made.close()


@pytest.fixture
def json_hooks() -> Iterator[None]:
    """Lets a test set the codec's hooks."""
    yield
    set_json_fallback(registered._default, registered._decode)


@pytest.fixture
def free_port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
