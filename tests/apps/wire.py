"""The app of the recorded messages, with a small limit on their size."""

from __future__ import annotations

from typing import Any

from umbel import Umbel

MAX_BYTES = 200_000

app = Umbel("wire", changes={"worker_max_message_bytes": MAX_BYTES})


@app.task(name="wire.add")
def add(x: Any, y: Any) -> Any:
    """What they call."""
    return x + y
