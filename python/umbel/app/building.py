"""Builds task messages: protocol 2, in Celery's order.

`plan` is what is known of a task before it is called, and remembered; `prepare` makes the message of one call of it:
headers, properties, destination, body.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from umbel import _current, _native
from umbel.app.call import Call
from umbel.app.identity import identity
from umbel.app.keys import CallKey
from umbel.app.moments import Moments
from umbel.app.plan import Encoding, Plan, check_limits, delivery_mode
from umbel.exceptions import EncodeError, ImproperlyConfigured
from umbel.routing import Destination, Queues, Router, queues_from_conf
from umbel.serialization.compression import compress
from umbel.signals import before_task_publish

if TYPE_CHECKING:
    from umbel._native import MessageDict
    from umbel.app.app import Umbel
    from umbel.task import Task

__all__ = ["MessageBuilder", "Prepared", "written"]

_uuid4 = _native.uuid4
_argument_repr = _native.argument_repr
#: Bytes of a body beyond which a message with the rest of a workflow is compressed.
_LONG_WORKFLOW = 8 << 10
_EMBED: Mapping[str, Any] = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


class Prepared(NamedTuple):
    """A message ready to be published."""

    message: MessageDict
    task_id: str
    name: str
    ignore_result: bool | None
    #: args, kwargs and embed, for signals.
    body: tuple[Any, Any, Any]


class MessageBuilder:
    """Of one application. Thread-safe."""

    def __init__(self, app: Umbel) -> None:
        self._app = app
        self._conf = app.conf
        self._version = -1
        self._plans: dict[str, Plan] = {}

    # --- what is known before a call

    def _refresh(self) -> None:
        """Settings have changed, or are read for the first time."""
        conf = self._conf
        conf.load()
        if conf.task_annotations and not self._app.finalized:
            self._app.finalize(auto=True)
        version = conf.version
        if conf.task_protocol != 2:
            raise ImproperlyConfigured("Setting task_protocol: only protocol 2 is written; 1 and 2 are read")
        self._plans = {}
        self._queues = queues_from_conf(conf)
        self._router = Router(conf.task_routes, self._queues, conf.task_default_queue)
        self._inherit_priority = bool(conf.task_inherit_parent_priority)
        self._moments = Moments(self._app)
        self._version = version

    @property
    def queues(self) -> Queues:
        """The queues messages can go to."""
        if self._version != self._conf.version:
            self._refresh()
        return self._queues

    def plan(self, name: str, task: Task[..., Any] | None) -> Plan:
        """What is known of a task's messages."""
        if self._version != self._conf.version:
            self._refresh()
        if task is None:
            plan = self._plans.get(name)
            if plan is None:
                plan = self._plans[name] = Plan(name, None, self._conf, self._router)
            return plan
        plan = task._plan
        if plan is None or plan.version != self._version:
            plan = Plan(name, task, self._conf, self._router)
            task._plan = plan
        return plan

    # --- one call

    def prepare(
        self,
        name: str,
        args: Any,
        kwargs: Any,
        options: dict[str, Any],
        task: Task[..., Any] | None = None,
        plan: Plan | None = None,
    ) -> Prepared:
        """The message of a call. Raises EncodeError, TypeError, ValueError, QueueNotFound."""
        if plan is None:
            plan = self.plan(name, task)
        if not options and plan.template is not None and not before_task_publish.receivers:
            return self._build_plain(plan, args, kwargs)
        if options:
            check_limits(options)
            call = Call({**plan.defaults, **options})
        else:
            call = plan.call
        args, kwargs = _checked(name, args, kwargs)
        if plan.shadow_name is not None and call.shadow is None:
            call = Call({**plan.defaults, **options, "shadow": plan.shadow_name(args, kwargs, options)})
        return self._build(plan, call, args, kwargs)

    def _build_plain(self, plan: Plan, args: Any, kwargs: Any) -> Prepared:
        """`_build` for a call without options, where all but six headers are known: takes half the time."""
        if type(args) is not tuple or type(kwargs) is not dict:
            args, kwargs = _checked(plan.name, args, kwargs)
        task_id = _uuid4()
        priority = plan.call.priority
        headers: dict[str, Any] = plan.template.copy()  # type: ignore[union-attr]
        headers["id"] = headers["root_id"] = task_id
        headers["origin"] = identity.origin
        headers["argsrepr"], headers["kwargsrepr"] = _argument_repr(args, kwargs)
        parent = _current.current_worker_request()
        if parent is not None:
            headers["root_id"] = parent.root_id or parent.id
            headers["parent_id"] = parent.id
            if self._inherit_priority and priority is None:
                priority = _priority_of(parent)
        body = (args, kwargs, _EMBED)
        encoding = plan.encoding
        message: MessageDict = {
            "headers": headers,
            "body": written(encoding, plan.name, body),
            "content_type": encoding.content_type,
            "content_encoding": encoding.content_encoding,
            "properties": {
                "correlation_id": task_id,
                "reply_to": identity.oid,
                "delivery_mode": plan.plain_delivery_mode,
                "priority": priority or 0,
            },
            "exchange": plan.exchange,
            "routing_key": plan.routing_key,
        }
        return Prepared(message, task_id, plan.name, plan.ignore_result, body)

    def _build(self, plan: Plan, call: Call, args: Any, kwargs: Any) -> Prepared:
        task_id = call.task_id or _uuid4()
        eta = due = expires = life = None
        if call.countdown or call.eta:
            eta, due = self._moments.eta(call.countdown, call.eta)
        if call.expires is not None:
            expires, life = self._moments.expires(call.expires, task_id)
        destination = plan.destination
        if destination is None or call.routed:
            destination = self._router.route(plan.name, args, kwargs, call.routing_options(), plan.task)
        headers = self._headers(plan, call, task_id, eta, expires, args, kwargs)
        if plan.concurrency_key is not None:
            headers["umbel_concurrency_key"] = plan.concurrency_key.digest(args, kwargs)
        line = None
        if plan.fair_key is not None or call.fair_key is not None:
            line = _line(plan, call, args, kwargs)
            if line:
                headers["umbel_line"] = line
        properties = self._properties(plan, call, task_id, life, destination)
        body = (args, kwargs, _EMBED if call is plan.call else _embed(call))
        if before_task_publish.receivers:
            self._announce(plan.name, body, headers, properties, destination)
        encoding = plan.encoding if call is plan.call else self.encoding(plan, call, destination)
        data = written(encoding, plan.name, body)
        compression = call.compression or destination.options.get("compression")
        if not compression and (call.chain or call.chord) and len(data) > _LONG_WORKFLOW:
            # Each message carries what is left of the workflow, which repeats itself: a tenth of it is enough.
            compression = "zlib"
        if compression:
            data, headers["compression"] = _compressed(data, compression, plan.name)
        message: MessageDict = {
            "headers": headers,
            "body": data,
            "content_type": encoding.content_type,
            "content_encoding": encoding.content_encoding,
            "properties": properties,
            "exchange": destination.exchange,
            "routing_key": destination.routing_key,
        }
        if due is not None:
            message["eta"] = due
        if line:
            message["line"] = line
        return Prepared(message, headers["id"], plan.name, headers["ignore_result"], body)

    def _headers(
        self, plan: Plan, call: Call, task_id: str, eta: str | None, expires: str | None, args: Any, kwargs: Any
    ) -> dict[str, Any]:
        root_id, parent_id = call.root_id, call.parent_id
        if root_id is None or parent_id is None:
            parent = _current.current_worker_request()
            if parent is not None:
                root_id = root_id or parent.root_id or parent.id
                parent_id = parent_id or parent.id
        argsrepr, kwargsrepr = call.argsrepr, call.kwargsrepr
        if argsrepr is None or kwargsrepr is None:
            shown_args, shown_kwargs = _argument_repr(args, kwargs)
            argsrepr = shown_args if argsrepr is None else argsrepr
            kwargsrepr = shown_kwargs if kwargsrepr is None else kwargsrepr
        headers: dict[str, Any] = {
            "lang": "py",
            "task": plan.name,
            "id": task_id,
            "shadow": call.shadow,
            "eta": eta,
            "expires": expires,
            "group": call.group_id,
            "group_index": call.group_index,
            "retries": call.retries,
            "timelimit": [call.time_limit, call.soft_time_limit],
            "root_id": root_id or task_id,
            "parent_id": parent_id,
            "argsrepr": argsrepr,
            "kwargsrepr": kwargsrepr,
            "origin": call.origin or identity.origin,
            "ignore_result": plan.ignore_result if call.ignore_result is None else call.ignore_result,
            "replaced_task_nesting": call.replaced_task_nesting,
            "stamped_headers": call.stamped_headers,
            "stamps": dict(call.stamps),
        }
        if call.headers:
            headers.update(call.headers)
        return headers

    def _properties(
        self, plan: Plan, call: Call, task_id: str, life: float | None, destination: Destination
    ) -> dict[str, Any]:
        priority = call.priority
        if priority is None:
            priority = destination.options.get("priority")
        if priority is None and self._inherit_priority:
            parent = _current.current_worker_request()
            priority = None if parent is None else _priority_of(parent)
        mode = call.delivery_mode or destination.delivery_mode
        properties: dict[str, Any] = {
            "correlation_id": call.correlation_id or task_id,
            "reply_to": call.reply_to or identity.oid,
            "delivery_mode": plan.delivery_mode if mode is None else delivery_mode(mode),
            "priority": priority or 0,
        }
        life = call.expiration if call.expiration is not None else life
        if life is not None:
            properties["expiration"] = str(int(float(life) * 1000))
        if call.properties:
            properties.update(call.properties)
        return properties

    def encoding(self, plan: Plan, call: Call, destination: Destination | None = None) -> Encoding:
        """The serializer of a call."""
        wanted = call.serializer or (destination.options.get("serializer") if destination else None)
        return plan.encoding if wanted is None or wanted == plan.defaults.get("serializer") else Encoding(wanted)

    def _announce(
        self, name: str, body: Any, headers: dict[str, Any], properties: dict[str, Any], destination: Destination
    ) -> None:
        before_task_publish.send(
            sender=name,
            body=body,
            exchange=destination.exchange,
            routing_key=destination.routing_key,
            headers=headers,
            properties=properties,
            declare=[],
            retry_policy=dict(self._conf.task_publish_retry_policy),
        )


def _line(plan: Plan, call: Call, args: Any, kwargs: Any) -> str | None:
    """The line a message stands in, of those that share its queue fairly. Raises TypeError."""
    if call.fair_key is not None:
        if plan.fair_key is None and plan.task is not None:
            raise TypeError(f"fair_key is for tasks with that option; {plan.name} needs fair_key=True")
        return str(call.fair_key)
    if isinstance(plan.fair_key, CallKey):
        return plan.fair_key.digest(args, kwargs)
    # That of a retry.
    known: str | None = (call.headers or {}).get("umbel_line")
    return known


def written(encoding: Encoding, name: str, body: Any) -> bytes:
    """The body in a serializer. Raises EncodeError that names the task."""
    try:
        return encoding.encode(body)
    except (TypeError, ValueError, RecursionError, EncodeError) as error:
        raise EncodeError(f"Arguments of task {name} cannot be written as {encoding.content_type}: {error}") from error


def _priority_of(request: Any) -> int | None:
    priority: int | None = (request.delivery_info or {}).get("priority")
    return priority


def _checked(name: str, args: Any, kwargs: Any) -> tuple[Any, Any]:
    args = () if args is None else args
    kwargs = {} if kwargs is None else kwargs
    if not isinstance(args, (list, tuple)):
        raise TypeError(f"args of task {name} must be a list or tuple, not {type(args).__name__}")
    if not isinstance(kwargs, Mapping):
        raise TypeError(f"kwargs of task {name} must be a mapping, not {type(kwargs).__name__}")
    return args, kwargs


def _embed(call: Call) -> dict[str, Any]:
    return {
        "callbacks": _as_list(call.link),
        "errbacks": _as_list(call.link_error),
        "chain": call.chain,
        "chord": call.chord,
    }


def _as_list(value: Any) -> list[Any] | None:
    if value is None:
        return None
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _compressed(data: bytes, method: str, name: str) -> tuple[bytes, str]:
    try:
        return compress(data, method)
    except KeyError:
        raise ImproperlyConfigured(
            f"Task {name}: no compression method {method!r}; use zlib, gzip, bzip2, zstd, lzma or brotli"
        ) from None
