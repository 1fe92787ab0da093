"""`basic` with a short warm stop."""

from __future__ import annotations

from apps.basic import build

app = build(worker_shutdown_timeout=1.0)
