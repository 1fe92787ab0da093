"""`basic` for a worker that does not wait for its broker."""

from __future__ import annotations

from apps.basic import build

app = build(broker_connection_retry_on_startup=False)
