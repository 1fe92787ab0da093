"""Chords in a worker: parts that are counted, and what happens once the last one is.

1. The outcome of a header member carries a message of `celery.chord_unlock` that waits for the chord. The store counts
   the member in the step in which it is acknowledged, and lets the message out if that was the last one, with the
   members filled in. So it goes out once, whatever dies. It goes to a queue that only Umbel's workers consume.
2. `unlock` joins the parts and sends the body as part of its own outcome; or, if one failed, fails the body.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from umbel._interfaces import AppInterface
from umbel.exceptions import ChordError, EncodeError, WorkerLostError, safe_repr
from umbel.execution.failure import ExceptionInfo
from umbel.execution.follow_ups import call_errbacks, leaves
from umbel.execution.report import logger
from umbel.result.failures import rebuild
from umbel.routing import own_queue
from umbel.serialization import accepted, dumps
from umbel.serialization.packing import load_packed, packed
from umbel.states import PROPAGATE_STATES
from umbel.task import Context

if TYPE_CHECKING:
    from umbel._interfaces import RecordWriter

__all__ = ["ChordParts", "fail_in_place", "fail_signature", "unlock"]

#: Stands for the members in the message that waits for them; the core fills them in.
_MEMBERS = "umbel:chord-members"
#: Header of messages whose chord was counted by the core.
_COUNTED = "umbel_chord"
#: Bytes of a body beyond which it is compressed: it is all that is left of the workflow, and repeats itself.
_LONG = 2 << 10


class ChordParts:
    """Makes the parts of chords. Members of one chord follow each other, so the message of the last is kept."""

    def __init__(self, app: AppInterface, format: RecordWriter) -> None:
        self._app = app
        self._format = format
        conf = app.conf
        expires = conf.result_expires if conf.result_chord_expires is None else conf.result_chord_expires
        self._expires: float | None = expires or None
        self._kept: tuple[str | None, Any] = (None, None)
        #: Otherwise a message that was sent with the header looks for the members' results.
        self._counted = app.results.counts_chords

    def of_request(self, request: Context, state: str, result: Any) -> list[Any]:
        """The part of the running task, if it counts for a chord. Raises EncodeError."""
        if not self._counted or not request.chord or not request.group:
            return []
        place = (request.group, request.id, request.group_index, request.root_id)
        return [self._part(request, request.chord, place, state, result)]

    def of_signature(self, request: Context, signature: Mapping[str, Any], state: str, result: Any) -> list[Any]:
        """The part of a call that will never run, because the task of `request` failed."""
        options = signature.get("options") or {}
        chord, group, task_id = options.get("chord"), options.get("group_id"), options.get("task_id")
        if not self._counted or not chord or not group or not task_id:
            return []
        place = (group, task_id, options.get("group_index"), options.get("root_id"))
        return [self._part(request, chord, place, state, result)]

    def _part(
        self, request: Context, chord: Any, place: tuple[str, str, int | None, str | None], state: str, result: Any
    ) -> Any:
        group, task_id, index, root_id = place
        try:
            part = self._format.write_part(task_id, state, result)
        except EncodeError as error:
            if state == "SUCCESS":
                raise
            part = self._format.write_part(task_id, state, error)
        waiting = self._waiting(group, chord, root_id, request)
        headers = {**waiting.message["headers"], "parent_id": task_id}
        counted = {"group": group, "task_id": task_id, "index": index, "part": part, "expires": self._expires}
        return waiting._replace(message={**waiting.message, "headers": headers, "chord": counted})

    def _waiting(self, group: str, chord: Any, root_id: str | None, request: Context) -> Any:
        kept_group, waiting = self._kept
        if kept_group != group:
            options: dict[str, Any] = {"headers": {_COUNTED: True}, "root_id": root_id, "ignore_result": True}
            unlocking = self._app.tasks["celery.chord_unlock"]
            arguments = (group, _packed(chord, self._app.conf.task_serializer))
            prepare: Any = self._app.sender.prepare
            waiting = prepare(unlocking.name, arguments, {"result": _MEMBERS}, options, unlocking)
            if request.job is not None:
                # Beside the member's own queue: Celery's worker would look for results that perhaps nobody stored.
                place = {"exchange": "", "routing_key": own_queue(request.job.queue, self._app.conf.broker_read_url)}
                waiting = waiting._replace(message={**waiting.message, **place})
            self._kept = (group, waiting)
        return waiting


def _packed(chord: Any, serializer: str) -> Any:
    """The body of a chord as an argument; in bytes if it is long."""
    data = dumps(chord, serializer)[2]
    return packed(data, "zlib") if len(data) > _LONG else chord


def _unpacked(app: Any, callback: Any) -> Any:
    if not isinstance(callback, bytes):
        return callback
    return load_packed(callback, accepted(app.conf.accept_content))


def unlock(
    app: Any, task: Any, group_id: str, callback: Any, interval: float | None, max_retries: int | None, result: Any
) -> None:
    """Sends the body of a chord that is complete, or fails it if a member failed. A chord that nobody counted is
    polled, as Celery does for stores that cannot count."""
    from umbel.canvas import maybe_signature

    body = maybe_signature(_unpacked(app, callback), app=app)
    request = task.request
    try:
        if (request.headers or {}).get(_COUNTED):
            found: list[tuple[str, str, Any]] | None = _counted(app, group_id)
            if not found:
                return  # The body went out before.
        else:
            result = list(result or ())
            found = _polled(app, group_id, result)
            if found is None:
                pause = app.conf.result_chord_retry_interval if interval is None else interval
                raise task.retry(countdown=pause, max_retries=max_retries)
        values = _joined(found, result)
    except ChordError as error:
        logger.error("Chord %s raised: %s", group_id, safe_repr(error))
        request.follow_ups.extend(_fail_body(app, request, body, error))
        return
    try:
        messages = _sent(body, values, request)
    except Exception as error:
        logger.exception("The body of chord %s cannot be sent", group_id)
        request.follow_ups.extend(_fail_body(app, request, body, ChordError(f"Callback error: {error!r}")))
        return
    if messages and app.results.counts_chords:
        messages[-1].message["chord"] = {"group": group_id}
    request.follow_ups.extend(messages)


def _counted(app: Any, group_id: str) -> list[tuple[str, str, Any]]:
    return [app.results.format.read_part(part) for part in app.results.chord_parts(group_id)]


def _polled(app: Any, group_id: str, tuples: list[Any]) -> list[tuple[str, str, Any]] | None:
    """What the members came to, and those they added, which are added to the tuples; None while one has not ended."""
    found: list[tuple[str, str, Any]] = []
    ids = _ids(tuples)
    while ids:
        for task_id, meta in zip(ids, app.results.read_many(ids), strict=True):
            if meta is None or meta["status"] not in ("SUCCESS", *PROPAGATE_STATES):
                return None
            found.append((task_id, meta["status"], meta["result"]))
        added = app.results.added_to_chord(group_id, ids)
        tuples += added
        ids = _ids(added)
    return found


def _ids(tuples: Any) -> list[str]:
    ids: list[str] = []
    for head, members in tuples:
        if members is None:
            ids.append(head if isinstance(head, str) else head[0])
        else:
            ids += _ids(members)
    return ids


def _joined(found: list[tuple[str, str, Any]], tuples: Any) -> list[Any]:
    """The results in order. Raises ChordError for the first member that failed."""
    for task_id, state, value in found:
        if state in PROPAGATE_STATES:
            raise ChordError(f"Dependency {task_id} raised {value!r}") from (
                value if isinstance(value, Exception) else None
            )
    if isinstance(tuples, (list, tuple)) and any(members is not None for _, members in tuples):
        # Members that are groups themselves have lists for results.
        return _structured({task_id: value for task_id, _, value in found}, tuples)
    return [value for _, _, value in found]


def _structured(values: Mapping[str, Any], tuples: Any) -> list[Any]:
    return [
        values.get(head if isinstance(head, str) else head[0]) if members is None else _structured(values, members)
        for head, members in tuples
    ]


def _sent(body: Any, values: list[Any], request: Context) -> list[Any]:
    from umbel.canvas import Outbox

    outbox = Outbox()
    body.apply_async(
        (values,), producer=outbox, add_to_parent=False, parent_id=request.parent_id, root_id=request.root_id
    )
    return list(outbox.messages)


# --- failure


def _fail_body(app: Any, request: Context, body: Any, error: BaseException) -> list[Any]:
    """Stores the failure for the body and what comes after it, and calls the body's errbacks; returns messages."""
    info = ExceptionInfo(error)
    messages = fail_signature(app, request, body, error, None)
    for failed_id, errbacks in _errbacks(body):
        fake = Context(
            id=failed_id, root_id=request.root_id, errbacks=errbacks, task=body.task, delivery_info={}, args=body.args,
            kwargs=body.kwargs, called_directly=False,
        )  # fmt: skip
        messages += call_errbacks(app, fake, info)
    return messages


def _errbacks(signature: Mapping[str, Any]) -> list[tuple[str | None, list[Any]]]:
    """Whose errbacks to call for a body that will never run: those of each member of a group, else its own."""
    options = signature.get("options") or {}
    fields: dict[str, Any] = dict(signature.get("kwargs") or {})
    own = options.get("link_error") or []
    own = list(own) if isinstance(own, (list, tuple)) else [own]
    kind = signature.get("subtask_type")
    if kind == "chord" and fields.get("body") and fields["body"]["task"] == "celery.accumulate":
        # A group whose results are gathered, as part of a header or in a task's place.
        kind, fields = "group", {"tasks": _members(fields["header"])}
    if kind == "group":
        return [(task_id, own or errbacks) for task in fields["tasks"] for task_id, errbacks in _errbacks(task)]
    if not own and kind == "chord" and fields.get("body"):
        return _errbacks(fields["body"])
    if not own and kind == "chain" and fields.get("tasks"):
        return _errbacks(fields["tasks"][0])
    return [(options.get("task_id"), own)]


def _members(header: Any) -> list[Any]:
    return list(header["kwargs"]["tasks"] if isinstance(header, Mapping) else header)


def fail_in_place(app: Any, request: Context, args: Any) -> None:
    """Raises the exception of a task that ended without a child to speak for it; `args` are that task's."""
    error = _told_failure(request)
    if request.chord and not app.results.counts_chords and app.results.read(request.id) is None:
        # Those that look for results must find one, also of a task that ignores its own.
        _store_failure(app, request, request.id, error, None)
    if request.headers["umbel_failure"]["task"] == "celery.chord_unlock":
        from umbel.canvas import maybe_signature

        body = maybe_signature(_unpacked(app, args[1]), app=app)
        request.follow_ups.extend(_fail_body(app, request, body, ChordError(f"Callback error: {error!r}")))
    raise error


def _told_failure(request: Context) -> BaseException:
    """The request is that of the task that failed from then on."""
    told = (request.headers or {})["umbel_failure"]
    record = told.get("record") or {}
    request.update(id=told["id"], fails_for=told["task"])
    if record.get("status") == "REVOKED":
        # As in Celery: nothing went wrong, so nobody is called.
        request.update(errbacks=None, fails_for="")
    return rebuild(record.get("result")) or WorkerLostError(f"Task {told['task']}[{told['id']}] ended without a result")


def fail_signature(
    app: Any, request: Context, signature: Mapping[str, Any], error: BaseException, traceback: str | None
) -> list[Any]:
    """Stores the failure for all calls of a workflow that will never run; returns their parts of chords."""
    parts = ChordParts(app, app.results.format)
    messages: list[Any] = []
    for leaf in leaves(signature):
        task_id = (leaf.get("options") or {}).get("task_id")
        if not task_id:
            continue
        try:
            _store_failure(app, request, task_id, error, traceback)
            messages += parts.of_signature(request, leaf, "FAILURE", error)
        except Exception as problem:
            logger.exception("The failure of %s cannot be stored: %s", task_id, safe_repr(problem))
    return messages


def _store_failure(app: Any, request: Context, task_id: str, error: BaseException, traceback: str | None) -> None:
    if request.link is None:
        app.results.store(task_id, "FAILURE", error, traceback)
        return
    format = app.results.format
    record = format.write(task_id, "FAILURE", error, traceback)
    request.link.started(request.job, record, format.expires_for("FAILURE"), "FAILURE", task_id)
