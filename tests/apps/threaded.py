"""An app that starts a thread when it is imported, which a fork would not copy."""

from __future__ import annotations

import threading

from umbel import Umbel

app = Umbel("threaded")
_forever = threading.Event()
background = threading.Thread(target=_forever.wait, name="background-of-the-app", daemon=True)
background.start()


@app.task(name="threaded.alive")
def alive() -> bool:
    """Whether the thread exists where the task runs."""
    return background.is_alive()
