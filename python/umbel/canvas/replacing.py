"""What takes a task's place: `Task.replace`."""

from __future__ import annotations

from typing import Any

from umbel.canvas.signature import as_list, kind_of, maybe_signature
from umbel.exceptions import ImproperlyConfigured

__all__ = ["replacement"]


def replacement(app: Any, request: Any, sig: Any) -> Any:
    """`sig` with the id, links, chain and chord of the task of `request`. Raises ImproperlyConfigured."""
    if "chord" in sig.options:
        raise ImproperlyConfigured("A signature replacing a task must not be part of a chord")
    if kind_of(sig) == "chain" and not sig.tasks:
        raise ImproperlyConfigured("Cannot replace with an empty chain")
    gathered = app.tasks["celery.accumulate"].s(index=0)
    if kind_of(sig) == "group":
        # The task had one result, and so has what replaces it.
        sig = sig | gathered
    elif kind_of(sig) == "chain" and kind_of(sig.tasks[-1]) == "group":
        sig = sig | gathered
    sig = sig.clone()
    for callback in as_list(request.callbacks):
        sig.link(maybe_signature(callback, app=app))
    for errback in as_list(request.errbacks):
        sig.append_to_list_option("link_error", maybe_signature(errback, app=app))
    if kind_of(sig) == "chain" and "link" in sig.options:
        # Steps will follow; the callbacks are those of what stands here now.
        for callback in as_list(sig.options.pop("link")):
            sig.tasks[-1].link(callback)
    sig.freeze(request.id)
    nesting = (request.replaced_task_nesting or 0) + 1
    inherited = {
        "chord": request.chord,
        "group_id": request.group,
        "group_index": request.group_index,
        "root_id": request.root_id,
        "replaced_task_nesting": nesting,
    }
    sig.set(**{name: value for name, value in inherited.items() if value is not None})
    for task in sig.tasks if kind_of(sig) == "chain" else ():
        task.set(replaced_task_nesting=nesting)
    later = [maybe_signature(step, app=app).set(replaced_task_nesting=nesting) for step in request.chain or ()]
    if later:
        sig.options["chain"] = [*later, *(sig.options.get("chain") or ())]
    return sig
