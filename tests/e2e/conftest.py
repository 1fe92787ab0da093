"""Brokers whose workers are killed."""

from __future__ import annotations

from pathlib import Path

import pytest
from apps import basic

from umbel import Umbel


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty broker."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/umbel.sqlite3"
    found: str = request.getfixturevalue("redis_url")
    return found


@pytest.fixture
def app(url: str) -> Umbel:
    """The client's side."""
    return basic.build(broker_url=url, result_backend=url)
