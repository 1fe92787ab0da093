"""A broker with a worker on it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from servers.worker_process import WorkerProcess

from umbel import Umbel

#: For tests that need tasks in processes.
in_processes = pytest.mark.parametrize("stack", ["sqlite", "redis"], indirect=True, scope="session")

#: How long a test waits for a result (seconds).
PATIENCE = 20.0


@dataclass
class Stack:
    """A broker that is its own result store, with a worker on it."""

    kind: str
    url: str
    app: Umbel
    #: None: the worker is in this process.
    worker: WorkerProcess | None
