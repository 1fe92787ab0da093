"""Umbel with its defaults: on Redis with each pool, and on its SQLite file."""

from __future__ import annotations

from benches.peers.peer import Peer

_WORKER = ("{python}", "-m", "umbel", "-A", "{app}", "worker", "-c", "{slots}", "-l", "WARNING", "-P")
_SETTINGS = {"acks": "late", "results": "stored, announced", "publish": "confirmed, repeated on failure"}

PREFORK = Peer(
    name="umbel-prefork",
    module="umbel_app",
    distributions=("umbel",),
    worker=(*_WORKER, "prefork"),
    settings={"pool": "prefork -c 2", **_SETTINGS},
    ours=True,
    far=True,
    workflows=True,
)
THREADS = Peer(
    name="umbel-threads",
    module="umbel_app",
    distributions=("umbel",),
    worker=(*_WORKER, "threads"),
    settings={"pool": "threads -c 2", **_SETTINGS},
    publishes=False,
    ours=True,
    far=True,
    workflows=True,
)
SQLITE = Peer(
    name="umbel-sqlite",
    module="umbel_app",
    distributions=("umbel",),
    worker=(*_WORKER, "prefork"),
    settings={"pool": "prefork -c 2", **_SETTINGS, "file": "WAL, synchronous=FULL"},
    store="sqlite",
    ours=True,
    workflows=True,
)
