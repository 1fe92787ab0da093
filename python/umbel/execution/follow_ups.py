"""What follows a task: callbacks and the next step of its chain after success, errbacks after failure.

Their messages are part of the task's outcome, so that they are published in the step in which it is acknowledged.
Plain calls are prepared here; what is a workflow of its own (`umbel.canvas`) is loaded only when it is met.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from umbel import _native
from umbel._interfaces import AppInterface
from umbel.exceptions import safe_repr
from umbel.execution.failure import ExceptionInfo
from umbel.execution.report import logger
from umbel.task.arguments import open_positional_parameters

if TYPE_CHECKING:
    from umbel.task import Context

__all__ = ["FollowUps", "call_errbacks", "call_in_place", "leaves", "malformed"]

#: Messages of one outcome; what is more of them is published before it.
_MOST = 2000


def malformed(embed: Mapping[str, Any]) -> str | None:
    """Why what a message embeds cannot be called, or None if it can."""
    chord = embed.get("chord")
    if chord and not _is_signature(chord):
        return "its chord is no signature"
    for name in ("callbacks", "errbacks", "chain"):
        signatures = embed.get(name) or ()
        if not isinstance(signatures, (list, tuple)) or not all(map(_is_signature, signatures)):
            return f"its {name} hold something that is no signature"
    return None


def _is_signature(value: Any) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("task"), str)


class FollowUps:
    """Messages to publish with the outcome of a request, and the result tuples that stand for them as children."""

    def __init__(self, app: AppInterface, request: Context) -> None:
        self._app = app
        self._inherited = _inherited(app, request)
        self.messages: list[Any] = []
        self.children: list[Any] = []

    def add_next(self, request: Context, value: Any) -> None:
        """The callbacks and the next step of the chain. Raises EncodeError if the value cannot be passed on."""
        if request.callbacks:
            self.call_all(request.callbacks, (value,))
        if request.chain:
            *rest, step = request.chain
            self.call(step, (value,), {**self._inherited, "chain": rest})

    def call_all(self, signatures: Sequence[Mapping[str, Any]], args: Sequence[Any]) -> None:
        """Several plain signatures are sent as the members of one group."""
        plain = [signature for signature in signatures if not signature.get("subtask_type")]
        for signature in signatures:
            if signature.get("subtask_type"):
                self.call(signature, args, self._inherited)
        if len(plain) == 1:
            self.call(plain[0], args, self._inherited)
        elif plain:
            group_id = _native.uuid4()
            members = []
            for index, signature in enumerate(plain):
                options = {**self._inherited, "group_id": group_id, "group_index": index}
                members.append(self._prepare(signature, args, options))
            self.children.append([[group_id, None], members])

    def call(self, signature: Mapping[str, Any], args: Sequence[Any], options: Mapping[str, Any]) -> None:
        """One signature of any kind."""
        if not signature.get("subtask_type"):
            self.children.append(self._prepare(signature, args, options))
            return
        from umbel.canvas import Outbox, maybe_signature

        outbox = Outbox()
        result = maybe_signature(signature, app=self._app).apply_async(
            args, producer=outbox, add_to_parent=False, **options
        )
        self.children.append(result.as_tuple())
        if len(outbox.messages) > _MOST:
            kept = outbox.messages[-_MOST:]
            del outbox.messages[-_MOST:]
            outbox.publish(self._app)
            outbox.messages = kept
        self.messages += outbox.messages

    def _prepare(self, signature: Mapping[str, Any], args: Sequence[Any], options: Mapping[str, Any]) -> Any:
        own = signature.get("args") or ()
        arguments = tuple(own) if signature.get("immutable") else (*args, *own)
        stored = signature.get("options") or {}
        merged = {**stored, **options}
        if stored.get("group_id") is not None:
            merged["group_id"] = stored["group_id"]
        if stored.get("chain") and options.get("chain"):
            merged["chain"] = [*options["chain"], *stored["chain"]]
        name = signature["task"]
        kwargs = dict(signature.get("kwargs") or {})
        prepared = self._app.sender.prepare(name, arguments, kwargs, merged, self._app.tasks.get(name))
        self.messages.append(prepared)
        return [[prepared.task_id, None], None]


def _inherited(app: AppInterface, request: Context) -> dict[str, Any]:
    options: dict[str, Any] = {"parent_id": request.id, "root_id": request.root_id or request.id}
    if app.conf.task_inherit_parent_priority:
        priority = (request.delivery_info or {}).get("priority")
        if priority is not None:
            options["priority"] = priority
    return options


# --- failure


def call_errbacks(app: AppInterface, request: Context, info: ExceptionInfo) -> list[Any]:
    """Calls errbacks that take request, exception and traceback in place; returns messages for the others."""
    published = call_in_place(app, request, info)
    if not published:
        return []
    follow_ups = FollowUps(app, request)
    try:
        follow_ups.call_all(published, (request.id,))
    except BaseException as error:
        logger.exception("Errbacks of task %s cannot be sent: %s", request.id, safe_repr(error))
    return follow_ups.messages


def call_in_place(app: AppInterface, request: Context, info: ExceptionInfo) -> list[Any]:
    """Calls errbacks that take request, exception and traceback; returns the others.

    Which is which is told by the function: one open positional parameter (or a task not known here) means a task
    that gets the failed id.
    """
    published = []
    for signature in request.errbacks or ():
        task = None if signature.get("subtask_type") else app.tasks.get(signature["task"])
        own = signature.get("args") or ()
        if task is not None and _open_parameters(task, signature) > 1:
            args = own if signature.get("immutable") else (request, info.exception, info.traceback, *own)
            try:
                task(*args, **(signature.get("kwargs") or {}))
            except BaseException as error:
                # One that calls sys.exit must not take the report of the failure with it.
                logger.exception("Errback %s of task %s raised: %s", signature["task"], request.id, safe_repr(error))
        else:
            published.append(signature)
    return published


def _open_parameters(task: Any, signature: Mapping[str, Any]) -> float:
    """Positional parameters that the failure has to fill: those the signature fills itself do not count."""
    run = task.run
    count = open_positional_parameters(getattr(run, "__func__", run), getattr(run, "__self__", None) is task)
    if signature.get("immutable"):
        return count
    return count - len(signature.get("args") or ()) - len(signature.get("kwargs") or {})


def leaves(signature: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The plain calls whose results people wait for when they wait for a workflow's."""
    kind = signature.get("subtask_type")
    fields = signature.get("kwargs") or {}
    if kind in ("chain", "group"):
        for task in fields.get("tasks") or ():
            yield from leaves(task)
    elif kind == "chord":
        if fields.get("body"):
            yield from leaves(fields["body"])
    else:
        yield signature
    for later in (signature.get("options") or {}).get("chain") or ():
        yield from leaves(later)
