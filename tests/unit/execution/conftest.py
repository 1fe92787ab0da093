"""An application and a bench to run its tasks on."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from tracing import Bench

from umbel import Umbel


@pytest.fixture
def app() -> Iterator[Umbel]:
    with Umbel("proj", broker=f"memory://{uuid.uuid4()}") as app:
        yield app


@pytest.fixture
def bench(app: Umbel) -> Bench:
    return Bench(app)
