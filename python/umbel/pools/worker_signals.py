"""Signals about a worker, and about tasks no child has: sent where the app is, from what the main process tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from umbel import signals
from umbel.exceptions import NotRegistered, Reject
from umbel.execution.node import WorkerNode
from umbel.task import Context

#: Those the main process does not send unless somebody listens.
_ASKED_FOR = ("heartbeat_sent", "task_received", "task_revoked", "task_rejected", "task_unknown")


def wanted_signals() -> list[str]:
    """Those that somebody listens to in this process, of which the main process must know."""
    return [name for name in _ASKED_FOR if getattr(signals, name).receivers]


def send_worker_signal(node: WorkerNode, name: str, fields: Mapping[str, Any] | None) -> None:
    """Sends one of them.

    Args:
        fields: Of signals about tasks `task` and `id`, with `terminated`, `signum` and `expired` of `task_revoked` and
            `reason` of `task_unknown` and `task_rejected`; of `worker_shutting_down` its arguments.
    """
    if name == "worker_shutting_down":
        signals.worker_shutting_down.send(sender=node.hostname, **(fields or {}))
    elif fields is None:
        getattr(signals, name).send(sender=node)
    else:
        _send_task_signal(node, name, fields)


def _send_task_signal(node: WorkerNode, name: str, fields: Mapping[str, Any]) -> None:
    task, task_id = fields["task"], fields["id"]
    if name == "task_unknown":
        signals.task_unknown.send(sender=node, message=None, exc=NotRegistered(task), name=task, id=task_id)
        return
    if name == "task_rejected":
        signals.task_rejected.send(sender=node, message=None, exc=Reject(fields["reason"]))
        return
    registered = node.app.tasks.get(task)
    request = Context(
        {"id": task_id, "task": task, "hostname": node.hostname, "called_directly": False, "task_object": registered}
    )
    if name == "task_received":
        signals.task_received.send(sender=node, request=request)
        return
    more = {key: fields[key] for key in ("terminated", "signum", "expired")}
    signals.task_revoked.send(sender=registered, request=request, **more)
