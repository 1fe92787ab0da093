"""The gevent pool."""

from __future__ import annotations

from umbel.pools.greenlets import GreenletPool


class GeventPool(GreenletPool):
    """`-P gevent`."""

    name = "gevent"
    runner = "umbel.pools.gevent_loop"
    patch = "import gevent.monkey; gevent.monkey.patch_all()"
    unpatched = "GEVENT_NOPATCH"
