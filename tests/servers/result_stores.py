"""Every kind of result store, by the name that tests use for it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

#: Stores in the core, stores in Python that Celery has too, and classes of Celery's behind the bridge.
NATIVE = ("memory", "sqlite", "redis")
SHARED = ("file", "db+sqlite", "postgresql", "mysql", "memcached")
BRIDGED = ("bridged-keys", "bridged-rows")


def store_url(kind: str, request: pytest.FixtureRequest, folder: Path) -> str:
    """URL of the store of that kind, which is started if need be; `folder` holds what is kept in files."""
    folder.mkdir(exist_ok=True)
    urls: dict[str, Callable[[], str]] = {
        "memory": lambda: f"memory://{uuid.uuid4()}",
        "sqlite": lambda: f"sqlite:///{folder}/results.sqlite3",
        "redis": lambda: str(request.getfixturevalue("redis_server").url(2)),
        "file": lambda: f"file://{folder}",
        "db+sqlite": lambda: f"db+sqlite:///{folder}/celery.sqlite3",
        "postgresql": lambda: f"db+{request.getfixturevalue('postgres_server').url()}",
        "mysql": lambda: f"db+{request.getfixturevalue('maria_server').url()}",
        "memcached": lambda: str(request.getfixturevalue("memcached_server").url()),
        "bridged-keys": lambda: f"celery.backends.filesystem:FilesystemBackend+file://{folder}",
        "bridged-rows": lambda: f"celery.backends.database:DatabaseBackend+sqlite:///{folder}/bridged.sqlite3",
    }
    return urls[kind]()
