"""The eventlet pool."""

from __future__ import annotations

from umbel.pools.greenlets import GreenletPool


class EventletPool(GreenletPool):
    """`-P eventlet`."""

    name = "eventlet"
    runner = "umbel.pools.eventlet_loop"
    # It says on import that it is deprecated: whoever chooses it here knows.
    patch = (
        "import warnings\n"
        "with warnings.catch_warnings(): warnings.simplefilter('ignore'); import eventlet\n"
        "eventlet.monkey_patch()\n"
    )
    unpatched = "EVENTLET_NOPATCH"
