"""A pool of a user's own."""

from __future__ import annotations

import os

from apps.basic import note

from umbel.pools.threads import ThreadsPool


class NotedPool(ThreadsPool):
    """Notes each child it starts in the file that NOTES names."""

    name = "noted"

    def spawn(self) -> None:
        note(os.environ["NOTES"], "spawned")
        super().spawn()
