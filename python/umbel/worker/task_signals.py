"""From what the engine tells to Celery's signals about tasks, as far as somebody listens to them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

#: Reasons of dead letters for which the engine itself refused the message; of others a child has told.
_REFUSED = ("max-deliveries", "oversized", "not-accepted: content type")


class TaskSignals:
    """Passes on what is wanted.

    Args:
        wanted: Names of signals with receivers.
        send: Called with a signal's name and its fields.
    """

    def __init__(self, wanted: Collection[str], send: Callable[[str, dict[str, Any]], None]) -> None:
        self._wanted = frozenset(wanted)
        self._send = send

    def tell(self, notice: tuple[Any, ...]) -> None:
        """Sends the signal that a notice of the engine stands for, if there is one."""
        if not self._wanted:
            return
        found = _signal_of(notice)
        if found is not None and found[0] in self._wanted:
            self._send(found[0], {"task": notice[1], "id": notice[2], **found[1]})


def _signal_of(notice: tuple[Any, ...]) -> tuple[str, dict[str, Any]] | None:
    kind = notice[0]
    if kind == "received":
        return "task_received", {}
    if kind in ("revoked", "expired"):
        return "task_revoked", {"terminated": False, "signum": None, "expired": kind == "expired"}
    if kind == "terminated":
        return "task_revoked", {"terminated": True, "signum": notice[3], "expired": False}
    if kind == "dead":
        reason = str(notice[3])
        if reason.startswith("unknown-task"):
            return "task_unknown", {"reason": reason}
        if reason.startswith(_REFUSED) or not notice[1]:
            return "task_rejected", {"reason": reason}
    return None
