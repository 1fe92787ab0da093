"""What frozen signatures get: ids, and where they stand in their workflow."""

from __future__ import annotations

from typing import Any, NamedTuple

from umbel import _native

__all__ = ["Place", "Series"]


class Place(NamedTuple):
    """Where a frozen signature stands in a workflow, as `Signature.freeze` is told."""

    group_id: str | None = None
    #: Body of the chord that it counts for.
    chord: Any = None
    root_id: str | None = None
    parent_id: str | None = None
    group_index: int | None = None


class Series:
    """Ids of the parts of one workflow, each of them the one before and one more: a message that carries many of them
    is packed into half of what random ones take.

    Args:
        after: A random id that was made for this workflow, and with which nothing else continues; by default a new one.
    """

    def __init__(self, after: str | None = None) -> None:
        self._after = after
        self._head: str | None = None
        self._number = 0

    def next_for(self, sig: Any) -> str | None:
        """An id for a plain call that has none yet."""
        if sig["subtask_type"] or "task_id" in sig["options"]:
            return None
        if self._head is None:
            after = self._after or _native.uuid4()
            self._head, self._number = after[:24], int(after[24:], 16)
        self._number = (self._number + 1) & 0xFFFF_FFFF_FFFF
        return f"{self._head}{self._number:012x}"
