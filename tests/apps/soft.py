"""`basic` with a soft shutdown, a queue for each worker, and no prefetching."""

from __future__ import annotations

import os

from apps.basic import build

app = build(
    worker_soft_shutdown_timeout=float(os.environ.get("SOFT_SHUTDOWN", "60")),
    worker_direct=True,
    worker_disable_prefetch=True,
)
