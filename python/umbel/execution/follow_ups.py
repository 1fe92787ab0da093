"""What follows a task: callbacks and the next step of its chain after success, errbacks after failure.

Their messages are part of the task's outcome, so that they are published in the step in which it is acknowledged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from umbel import _native
from umbel._interfaces import AppInterface
from umbel.exceptions import safe_repr
from umbel.execution.failure import ExceptionInfo
from umbel.execution.report import logger
from umbel.task.arguments import open_positional_parameters

if TYPE_CHECKING:
    from umbel.task import Context

__all__ = ["call_errbacks", "fail_chain", "needs_canvas", "prepare_next"]


def needs_canvas(embed: Mapping[str, Any]) -> str | None:
    """Why this message cannot be run without the canvas, or None if it can."""
    if embed.get("chord"):
        return "it counts towards a chord"
    for name in ("callbacks", "errbacks", "chain"):
        for signature in embed.get(name) or ():
            why = _complex(signature)
            if why:
                return f"its {name} hold {why}"
    return None


def _complex(signature: Any) -> str | None:
    if not isinstance(signature, Mapping) or not isinstance(signature.get("task"), str):
        return "something that is no signature"
    if signature.get("subtask_type"):
        return f"a {signature['subtask_type']}"
    if (signature.get("options") or {}).get("chord"):
        return "a step that counts towards a chord"
    return None


def prepare_next(app: AppInterface, request: Context, value: Any) -> tuple[list[Any], list[Any]]:
    """Messages for the callbacks and the next chain step, and the result tuples that stand for them as children.

    Raises EncodeError if the value cannot be passed on.
    """
    shared = _inherited(app, request)
    messages: list[Any] = []
    children: list[Any] = []
    if request.callbacks:
        _add_all(app, request.callbacks, (value,), shared, messages, children)
    if request.chain:
        options = {**shared, "chain": list(request.chain[:-1])}
        prepared = _prepare(app, request.chain[-1], (value,), options)
        messages.append(prepared)
        children.append(_result_tuple(prepared))
    return messages, children


def _inherited(app: AppInterface, request: Context) -> dict[str, Any]:
    options: dict[str, Any] = {"parent_id": request.id, "root_id": request.root_id or request.id}
    if app.conf.task_inherit_parent_priority:
        priority = (request.delivery_info or {}).get("priority")
        if priority is not None:
            options["priority"] = priority
    return options


def _add_all(
    app: AppInterface,
    signatures: Sequence[Mapping[str, Any]],
    args: Sequence[Any],
    options: Mapping[str, Any],
    messages: list[Any],
    children: list[Any],
) -> None:
    """Several signatures are sent as the members of one group."""
    if len(signatures) == 1:
        prepared = _prepare(app, signatures[0], args, options)
        messages.append(prepared)
        children.append(_result_tuple(prepared))
        return
    group_id = _native.uuid4()
    members = []
    for index, signature in enumerate(signatures):
        prepared = _prepare(app, signature, args, {**options, "group_id": group_id, "group_index": index})
        messages.append(prepared)
        members.append(_result_tuple(prepared))
    children.append([[group_id, None], members])


def _prepare(app: AppInterface, signature: Mapping[str, Any], args: Sequence[Any], options: Mapping[str, Any]) -> Any:
    own = signature.get("args") or ()
    arguments = tuple(own) if signature.get("immutable") else (*args, *own)
    merged = {**(signature.get("options") or {}), **options}
    name = signature["task"]
    return app.sender.prepare(name, arguments, dict(signature.get("kwargs") or {}), merged, app.tasks.get(name))


def _result_tuple(prepared: Any) -> list[Any]:
    return [[prepared.task_id, None], None]


# --- failure


def call_errbacks(app: AppInterface, request: Context, info: ExceptionInfo) -> list[Any]:
    """Calls errbacks that take request, exception and traceback in place; returns messages for the others.

    Which is which is told by the function: one open positional parameter (or a task not known here) means a task
    that gets the failed id.
    """
    published = []
    for signature in request.errbacks or ():
        task = app.tasks.get(signature["task"])
        own = signature.get("args") or ()
        if task is not None and _open_parameters(task) > 1:
            args = own if signature.get("immutable") else (request, info.exception, info.traceback, *own)
            try:
                task(*args, **(signature.get("kwargs") or {}))
            except BaseException as error:
                # One that calls sys.exit must not take the report of the failure with it.
                logger.exception("Errback %s of task %s raised: %s", signature["task"], request.id, safe_repr(error))
        else:
            published.append(signature)
    messages: list[Any] = []
    if published:
        try:
            _add_all(app, published, (request.id,), _inherited(app, request), messages, [])
        except BaseException as error:
            logger.exception("Errbacks of task %s cannot be sent: %s", request.id, safe_repr(error))
    return messages


def _open_parameters(task: Any) -> float:
    run = task.run
    return open_positional_parameters(getattr(run, "__func__", run), getattr(run, "__self__", None) is task)


def fail_chain(app: AppInterface, request: Context, info: ExceptionInfo) -> None:
    """Stores the failure for the remaining steps of a chain: whoever waits for the last one must hear of it."""
    for signature in reversed(request.chain or ()):
        options = signature.get("options") or {}
        step_id = options.get("task_id")
        if not step_id:
            continue
        try:
            app.results.store(step_id, "FAILURE", info.exception, info.traceback)
        except BaseException as error:
            logger.exception("The failure of chain step %s cannot be stored: %s", step_id, safe_repr(error))
