"""What `then` returns: functions to call once something has happened."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["Promise"]

logger = logging.getLogger("umbel.result")

Callback = Callable[[Any], Any]


class Promise:
    """Is fulfilled once, with a value, and calls every function that was or will be given to `then`. Thread-safe."""

    __slots__ = ("_lock", "_then", "_value", "ready")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._then: list[tuple[Callback, Callback | None, Promise]] = []
        self._value: Any = None
        #: It is fulfilled.
        self.ready = False

    def then(self, callback: Callback, on_error: Callback | None = None) -> Promise:
        """Calls `callback` with the value: now if there is one, in this thread, else when there is, in the thread that
        fulfils it. Its exceptions go to `on_error`, or to the log.

        Returns a promise of what `callback` returns.
        """
        step = (callback, on_error, Promise())
        with self._lock:
            if not self.ready:
                self._then.append(step)
                return step[2]
        self._call(*step)
        return step[2]

    def __call__(self, value: Any) -> None:
        """Fulfils it; the second time nothing happens."""
        with self._lock:
            if self.ready:
                return
            self.ready, self._value = True, value
            steps, self._then = self._then, []
        for step in steps:
            self._call(*step)

    def _call(self, callback: Callback, on_error: Callback | None, following: Promise) -> None:
        try:
            following(callback(self._value))
        except Exception as error:
            if on_error is None:
                logger.exception("A callback of %s raised", self._value)
            else:
                on_error(error)
