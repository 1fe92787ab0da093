"""Times as settings write them."""

from __future__ import annotations

__all__ = ["rate"]

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def rate(limit: str | float | None) -> float:
    """How many a second: of `"100/m"`, `"2/h"`, `"0.5/s"`, `"10"` or a number; 0 for None and for no limit.

    Raises:
        ValueError: It is none of these.
    """
    if not limit:
        return 0.0
    count, _, unit = limit.partition("/") if isinstance(limit, str) else (limit, "", "")
    try:
        found = float(count) / _SECONDS[unit.strip() or "s"]
    except (KeyError, TypeError, ValueError):
        found = -1.0
    if not 0.0 <= found < float("inf"):
        raise ValueError(f"{limit!r} is no rate: write '10/s', '100/m', '2/h', or a number of tasks a second")
    return found
