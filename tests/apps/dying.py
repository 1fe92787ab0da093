"""An app whose children end as soon as they start."""

from __future__ import annotations

import os

from umbel import Umbel, signals

app = Umbel("dying")


@signals.worker_process_init.connect
def end(**_: object) -> None:
    """Ends the child."""
    os._exit(3)
