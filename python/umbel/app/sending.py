"""Builds task messages (protocol 2, in Celery's order) and publishes them.

A call goes through four steps: `plan` (what is known of the task, remembered), `prepare` (headers, properties, body,
destination), `publish` (the core confirms or the time is up), and the result object. `retry` inside a task and the
follow-ups of a finished task stop after `prepare`: their messages travel with the task's outcome.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from umbel import _current, _native
from umbel.app.call import Call
from umbel.app.identity import identity
from umbel.app.moments import Moments
from umbel.app.plan import Encoding, Plan, check_limits, delivery_mode
from umbel.exceptions import EncodeError, ImproperlyConfigured, from_native
from umbel.result import AsyncResult, denied_join_result
from umbel.routing import Destination, Queues, Router, queues_from_conf
from umbel.serialization import accepted, loads
from umbel.serialization.compression import compress
from umbel.signals import after_task_publish, before_task_publish

if TYPE_CHECKING:
    from umbel._native import MessageDict
    from umbel.app.app import Umbel
    from umbel.task import Task

__all__ = ["Prepared", "Sender"]

_uuid4 = _native.uuid4
_argument_repr = _native.argument_repr
_EMBED: Mapping[str, Any] = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
#: "For ever", seconds.
_UNBOUNDED = 1e9


class Prepared(NamedTuple):
    """A message ready to be published."""

    message: MessageDict
    task_id: str
    name: str
    ignore_result: bool | None
    #: args, kwargs and embed, for signals.
    body: tuple[Any, Any, Any]


class Sender:
    """Of one application. Thread-safe."""

    def __init__(self, app: Umbel) -> None:
        self._app = app
        self._conf = app.conf
        self._version = -1
        self._plans: dict[str, Plan] = {}
        self._bound_exchanges: set[str] = set()

    # --- what settings say

    def _refresh(self) -> None:
        """Settings have changed, or are read for the first time."""
        self._conf.load()
        version = self._conf.version
        conf = self._conf
        self._plans = {}
        self._bound_exchanges = set()
        self._queues = queues_from_conf(conf)
        self._router = Router(conf.task_routes, self._queues, conf.task_default_queue)
        self._inherit_priority = bool(conf.task_inherit_parent_priority)
        self._timeout = _timeout(conf.task_publish_retry_policy, conf)
        self._timeout_once = float(conf.broker_connection_timeout or 4)
        if not conf.task_publish_retry:
            self._timeout = self._timeout_once
        if conf.task_protocol != 2:
            raise ImproperlyConfigured("Setting task_protocol: only protocol 2 is written; 1 and 2 are read")
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

    # --- sending

    def send(
        self,
        name: str,
        args: Any,
        kwargs: Any,
        options: dict[str, Any],
        task: Task[..., Any] | None = None,
        by_name: bool = False,
    ) -> AsyncResult[Any]:
        """Publishes a call and returns its result object. Raises as `Task.apply_async` says.

        `by_name`: the task itself is not at hand, so `task_always_eager` cannot run it.
        """
        plan = self.plan(name, task)
        if plan.always_eager and not by_name:
            return self._run_eagerly(plan, args, kwargs, options)
        prepared = self.prepare(name, args, kwargs, options, task, plan)
        result: AsyncResult[Any]
        if options:
            self.publish((prepared,), options.get("retry"), options.get("retry_policy"))
            result = (options.get("result_cls") or AsyncResult)(prepared.task_id, app=self._app)
        else:
            self.publish((prepared,))
            result = AsyncResult(prepared.task_id, None, None, self._app)
        if prepared.ignore_result:
            result.ignored = True
        parent: Any = _current.current_worker_request()
        if parent is not None and parent.task_object.trail and options.get("add_to_parent", True):
            parent.children.append(result)
        return result

    def _run_eagerly(self, plan: Plan, args: Any, kwargs: Any, options: dict[str, Any]) -> AsyncResult[Any]:
        encoding = self._encoding(plan, Call({**plan.defaults, **options}))
        # Through the serializer, so that a task sees what it would see in a worker.
        data = _written(encoding, plan.name, (tuple(args or ()), dict(kwargs or {})))
        accept = accepted([encoding.content_type])
        args, kwargs = loads(data, encoding.content_type, encoding.content_encoding, accept)
        with denied_join_result():
            result: AsyncResult[Any] = self._app.run_eagerly(plan.task, args, kwargs, options)
        return result

    def publish(
        self, batch: Sequence[Prepared], retry: bool | None = None, policy: Mapping[str, Any] | None = None
    ) -> None:
        """Publishes messages in order. Raises OperationalError when the broker cannot be reached in time."""
        timeout = self._timeout
        if retry is not None or policy:
            conf = self._conf
            again = conf.task_publish_retry if retry is None else retry
            merged = {**conf.task_publish_retry_policy, **(policy or {})}
            timeout = _timeout(merged, conf) if again else self._timeout_once
        self.bind(batch)
        try:
            self._app.client.publish([prepared.message for prepared in batch], timeout)
        except _native.NativeError as error:
            raise from_native(error) from error
        if after_task_publish.receivers:
            self.announce(batch)

    def announce(self, batch: Sequence[Prepared]) -> None:
        """Sends `after_task_publish` for messages that have been published."""
        if not after_task_publish.receivers:
            return
        for prepared in batch:
            after_task_publish.send(
                sender=prepared.name,
                body=prepared.body,
                headers=prepared.message["headers"],
                exchange=prepared.message["exchange"],
                routing_key=prepared.message["routing_key"],
            )

    def bind(self, batch: Sequence[Prepared]) -> None:
        """Makes sure that messages for named exchanges reach their queues: unbound ones would be dropped silently."""
        for prepared in batch:
            exchange = prepared.message["exchange"]
            if exchange and exchange not in self._bound_exchanges:
                self._bind(exchange)

    def _bind(self, exchange: str) -> None:
        for queue in list(self._queues.values()):
            if queue.exchange_name == exchange:
                kind: Any = queue.exchange_type
                self._app.client.bind(queue.name, exchange, queue.routing_key, kind)
        self._bound_exchanges.add(exchange)

    # --- building

    def prepare(
        self,
        name: str,
        args: Any,
        kwargs: Any,
        options: dict[str, Any],
        task: Task[..., Any] | None = None,
        plan: Plan | None = None,
    ) -> Prepared:
        """Builds the message of a call. Raises EncodeError, TypeError, ValueError, QueueNotFound."""
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
                priority = (parent.delivery_info or {}).get("priority")
        body = (args, kwargs, _EMBED)
        encoding = plan.encoding
        data = _written(encoding, plan.name, body)
        message: MessageDict = {
            "headers": headers,
            "body": data,
            "content_type": encoding.content_type,
            "content_encoding": encoding.content_encoding,
            "properties": {
                "correlation_id": task_id,
                "reply_to": identity.thread_oid,
                "delivery_mode": plan.delivery_mode,
                "priority": priority or 0,
            },
            "exchange": plan.exchange,
            "routing_key": plan.routing_key,
        }
        return Prepared(message, task_id, plan.name, plan.ignore_result, body)

    def _build(self, plan: Plan, call: Call, args: Any, kwargs: Any) -> Prepared:
        task_id = call.task_id or _uuid4()
        root_id, parent_id, priority = call.root_id, call.parent_id, call.priority
        if root_id is None or parent_id is None:
            parent = _current.current_worker_request()
            if parent is not None:
                root_id = root_id or parent.root_id or parent.id
                parent_id = parent_id or parent.id
                if self._inherit_priority and priority is None:
                    priority = (parent.delivery_info or {}).get("priority")
        argsrepr, kwargsrepr = call.argsrepr, call.kwargsrepr
        if argsrepr is None or kwargsrepr is None:
            shown_args, shown_kwargs = _argument_repr(args, kwargs)
            argsrepr = shown_args if argsrepr is None else argsrepr
            kwargsrepr = shown_kwargs if kwargsrepr is None else kwargsrepr
        eta = due = expires = life = None
        if call.countdown or call.eta:
            eta, due = self._moments.eta(call.countdown, call.eta)
        if call.expires is not None:
            expires, life = self._moments.expires(call.expires, task_id)
        ignore_result = plan.ignore_result if call.ignore_result is None else call.ignore_result
        stamps = call.stamps
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
            "ignore_result": ignore_result,
            "replaced_task_nesting": call.replaced_task_nesting,
            "stamped_headers": call.stamped_headers,
            "stamps": dict(stamps) if stamps else {},
        }
        destination = plan.destination
        if destination is None or call.routed:
            destination = self._route(plan, call, args, kwargs)
        if destination.options:
            priority = destination.options.get("priority") if priority is None else priority
        mode = call.delivery_mode or destination.delivery_mode
        properties: dict[str, Any] = {
            "correlation_id": call.correlation_id or task_id,
            "reply_to": call.reply_to or identity.thread_oid,
            "delivery_mode": plan.delivery_mode if mode is None else delivery_mode(mode),
            "priority": priority or 0,
        }
        if life is not None:
            properties["expiration"] = str(int(life * 1000))
        if call.expiration is not None:
            properties["expiration"] = str(int(float(call.expiration) * 1000))
        if call.properties:
            properties.update(call.properties)
        if call.headers:
            headers.update(call.headers)
        body = (args, kwargs, _EMBED if call is plan.call else _embed(call))
        if before_task_publish.receivers:
            self._announce_before(plan.name, body, headers, properties, destination)
        return self._encode(plan, call, body, headers, properties, destination, due, ignore_result)

    def _encode(
        self,
        plan: Plan,
        call: Call,
        body: tuple[Any, Any, Any],
        headers: dict[str, Any],
        properties: dict[str, Any],
        destination: Destination,
        due: float | None,
        ignore_result: bool | None,
    ) -> Prepared:
        encoding = plan.encoding if call is plan.call else self._encoding(plan, call, destination)
        data = _written(encoding, plan.name, body)
        compression = call.compression or destination.options.get("compression")
        if compression:
            data, headers["compression"] = _compress(data, compression, plan.name)
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
        return Prepared(message, headers["id"], plan.name, ignore_result, body)

    def _encoding(self, plan: Plan, call: Call, destination: Destination | None = None) -> Encoding:
        wanted = call.serializer or (destination.options.get("serializer") if destination else None)
        return plan.encoding if wanted is None or wanted == plan.defaults.get("serializer") else Encoding(wanted)

    def _route(self, plan: Plan, call: Call, args: Any, kwargs: Any) -> Destination:
        return self._router.route(plan.name, args, kwargs, call.routing_options(), plan.task)

    def _announce_before(
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


def _timeout(policy: Mapping[str, Any], conf: Any) -> float:
    """How long a publish may take in all: each attempt its connection timeout, and the pauses between attempts."""
    attempts = policy.get("max_retries", 3)
    if attempts is None:
        return _UNBOUNDED
    start, step = float(policy.get("interval_start", 0)), float(policy.get("interval_step", 0.2))
    longest = float(policy.get("interval_max", 1))
    pauses = sum(min(start + step * attempt, longest) for attempt in range(int(attempts)))
    return float(conf.broker_connection_timeout or 4) * (int(attempts) + 1) + pauses


def _written(encoding: Encoding, name: str, body: Any) -> bytes:
    try:
        return encoding.encode(body)
    except (TypeError, ValueError, RecursionError, EncodeError) as error:
        raise EncodeError(f"Arguments of task {name} cannot be written as {encoding.content_type}: {error}") from error


def _compress(data: bytes, method: str, name: str) -> tuple[bytes, str]:
    try:
        return compress(data, method)
    except KeyError:
        raise ImproperlyConfigured(
            f"Task {name}: no compression method {method!r}; use zlib, gzip, bzip2, zstd, lzma or brotli"
        ) from None
