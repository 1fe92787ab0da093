"""Tools for the tests of programs that use Umbel; the pytest plugin is `umbel.testing.plugin`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from umbel.testing.clock import MovedClock, moved_clock
    from umbel.testing.queues import Drained, Enqueued, assert_enqueued, assert_not_enqueued, drain, enqueued
    from umbel.testing.worker import start_worker

__all__ = [
    "Drained",
    "Enqueued",
    "MovedClock",
    "assert_enqueued",
    "assert_not_enqueued",
    "drain",
    "enqueued",
    "moved_clock",
    "start_worker",
]

# Every pytest run with Umbel installed imports this package for the plugin's sake; the rest comes when it is used.
_HOMES = {
    "MovedClock": "clock",
    "moved_clock": "clock",
    "start_worker": "worker",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"umbel.testing.{_HOMES.get(name, 'queues')}"), name)
