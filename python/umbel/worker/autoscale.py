"""Growing and shrinking a pool by what there is to do (`--autoscale`)."""

from __future__ import annotations

import importlib
import math
import os
from dataclasses import dataclass
from typing import Any

from umbel.exceptions import ImproperlyConfigured

#: How long a process is kept that is not needed (seconds); Celery's name.
KEEPALIVE = float(os.environ.get("AUTOSCALE_KEEPALIVE", "30"))
_CELERY_S = "celery.worker.autoscale:Autoscaler"


@dataclass(frozen=True)
class Load:
    """What the engine tells: processes, tasks they can run at once, tasks that run, that wait here for a free slot, and
    whether more may wait in the queues."""

    processes: int
    slots: int
    running: int
    waiting: int
    more: bool


class Autoscaler:
    """Decides how many processes there should be. It is asked once a second.

    A pool grows while every slot is taken and something waits: by what waits here, at most to twice its size at a time.
    It shrinks to the most that was needed in the last `keepalive` seconds.

    Args:
        max_concurrency: Processes at most.
        min_concurrency: Processes at least, from 1 on.
        keepalive: Seconds.
    """

    def __init__(self, max_concurrency: int, min_concurrency: int = 1, keepalive: float = KEEPALIVE) -> None:
        if not 1 <= min_concurrency <= max_concurrency:
            raise ImproperlyConfigured(
                "--autoscale takes the most processes, then the least, from 1 on: not "
                f"{max_concurrency},{min_concurrency}"
            )
        self.max_concurrency = max_concurrency
        self.min_concurrency = min_concurrency
        self.keepalive = keepalive
        #: The most needed since `_since`, and before that.
        self._needed = min_concurrency
        self._since: float | None = None

    def size(self, current: int, load: Load, now: float) -> int:
        """How many processes to have; `now` is in seconds of a clock that only goes forward."""
        per_process = max(1, load.slots // load.processes) if load.processes else 1
        needed = math.ceil((load.running + load.waiting) / per_process)
        is_full = load.processes >= current and load.running >= load.slots > 0
        if is_full and (load.waiting or load.more):
            self._since = None
            wanted = max(current + 1, min(needed, 2 * current))
            return min(wanted, self.max_concurrency)
        if self._since is None:
            self._since, self._needed = now, needed
        self._needed = max(self._needed, needed)
        if now - self._since < self.keepalive:
            return current
        wanted, self._since = self._needed, None
        return max(self.min_concurrency, min(wanted, current))


def read_bounds(text: str) -> tuple[int, int]:
    """Most and least of `MAX,MIN` or `MAX`.

    Raises:
        ImproperlyConfigured: It is something else.
    """
    parts = text.split(",")
    try:
        most, least = int(parts[0]), int(parts[1]) if len(parts) > 1 else 1
    except ValueError:
        raise ImproperlyConfigured(f"--autoscale takes MAX,MIN, as in 10,3: not {text!r}") from None
    if len(parts) > 2:
        raise ImproperlyConfigured(f"--autoscale takes MAX,MIN, as in 10,3: not {text!r}")
    # Celery's least may be none, which here would see no work.
    return most, max(1, least)


def make_autoscaler(path: str, most: int, least: int) -> Autoscaler:
    """The autoscaler that the setting `worker_autoscaler` names.

    Raises:
        ImproperlyConfigured: It cannot be imported, or is none; or the bounds are none.
    """
    if path == _CELERY_S:
        return Autoscaler(most, least)
    module_name, _, attribute = path.partition(":") if ":" in path else path.rpartition(".")
    try:
        found: Any = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ImproperlyConfigured(f"The autoscaler {path!r} cannot be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Autoscaler)):
        raise ImproperlyConfigured(
            f"The autoscaler {path!r} is no class derived from umbel.worker.autoscale.Autoscaler"
        )
    return found(most, least)
