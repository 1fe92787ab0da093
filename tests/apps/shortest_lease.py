"""`basic` on a lease that ends soon after its worker."""

from __future__ import annotations

from apps.basic import build

app = build(worker_lease=1.0)
