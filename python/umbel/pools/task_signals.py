"""Signals about tasks that no child has: sent where the app is, from what the main process tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from umbel import signals
from umbel.exceptions import NotRegistered, Reject
from umbel.task import Context

if TYPE_CHECKING:
    from umbel.app import Umbel

#: What they are.
TASK_SIGNALS = ("task_received", "task_revoked", "task_rejected", "task_unknown")


def wanted_signals() -> list[str]:
    """Those that somebody listens to in this process."""
    return [name for name in TASK_SIGNALS if getattr(signals, name).receivers]


def send_task_signal(app: Umbel, name: str, fields: Mapping[str, Any]) -> None:
    """Sends one of them.

    Args:
        fields: `node` of the worker, `task` and `id`; of `task_revoked` also `terminated`, `signum` and `expired`;
            `reason` of the others.
    """
    node, task, task_id = fields["node"], fields["task"], fields["id"]
    if name == "task_unknown":
        signals.task_unknown.send(sender=node, message=None, exc=NotRegistered(task), name=task, id=task_id)
        return
    if name == "task_rejected":
        signals.task_rejected.send(sender=node, message=None, exc=Reject(fields["reason"]))
        return
    registered = app.tasks.get(task)
    request = Context(
        {"id": task_id, "task": task, "hostname": node, "called_directly": False, "task_object": registered}
    )
    if name == "task_received":
        signals.task_received.send(sender=node, request=request)
        return
    more = {key: fields[key] for key in ("terminated", "signum", "expired")}
    signals.task_revoked.send(sender=registered, request=request, **more)
