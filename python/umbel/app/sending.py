"""Publishes calls: build the message, have the core publish it within a bounded time, return the result object.

`retry` inside a task and the follow-ups of a finished task are only prepared here; their messages travel with the
task's outcome.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from umbel import _current, _native
from umbel.app.building import MessageBuilder, Prepared, written
from umbel.app.call import Call
from umbel.app.plan import Plan
from umbel.exceptions import from_native
from umbel.result import AsyncResult, denied_join_result
from umbel.routing import Queues
from umbel.serialization import accepted, loads
from umbel.signals import after_task_publish, task_sent

if TYPE_CHECKING:
    from umbel.app.app import Umbel
    from umbel.app.unique import Uniqueness
    from umbel.task import Task

__all__ = ["Sender"]

#: "For ever", seconds.
_UNBOUNDED = 1e9

#: Messages given to the core at once: one step of the broker, which others have to wait for.
_BATCH = 1000


class _Bounds(NamedTuple):
    """How long a publish may take, seconds."""

    #: In all.
    timeout: float
    #: From its first error to the one it ends with; None: that does not matter.
    patience: float | None

    @classmethod
    def of_policy(cls, policy: Mapping[str, Any], attempt_timeout: float) -> _Bounds:
        """As long as its attempts may take, each of them `attempt_timeout`, and the pauses between them. Where
        attempts fail at once, the pauses alone."""
        attempts = policy.get("max_retries", 3)
        if attempts is None:
            return cls(_UNBOUNDED, None)
        start, step = float(policy.get("interval_start", 0)), float(policy.get("interval_step", 0.2))
        longest = float(policy.get("interval_max", 1))
        pauses = sum(min(start + step * attempt, longest) for attempt in range(int(attempts)))
        return cls(attempt_timeout * (int(attempts) + 1) + pauses, pauses)


class Sender:
    """Of one application. Thread-safe."""

    def __init__(self, app: Umbel) -> None:
        self._app = app
        self._conf = app.conf
        self._builder = MessageBuilder(app)
        self.prepare = self._builder.prepare
        self._version = -1
        self._default_bounds = _Bounds(0, 0)
        #: Exchange to the number of queues there were when it was bound.
        self._bound: dict[str, int] = {}

    def _refresh(self) -> None:
        """Settings have changed, or are read for the first time."""
        conf = self._conf
        conf.load()
        self._version = conf.version
        self._default_bounds = self._bounds(conf.task_publish_retry, conf.task_publish_retry_policy)
        self._bound = {}

    def _bounds(self, retry: bool, policy: Mapping[str, Any]) -> _Bounds:
        attempt = float(self._conf.broker_connection_timeout or 4)
        return _Bounds.of_policy(policy, attempt) if retry else _Bounds(attempt, 0)

    @property
    def queues(self) -> Queues:
        """The queues messages can go to."""
        return self._builder.queues

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
        plan = self._builder.plan(name, task)
        if plan.always_eager and not by_name:
            return self._run_eagerly(plan, args, kwargs, options)
        if plan.unique is not None and plan.unique.is_meant(options):
            return self._send_unique(plan, plan.unique, args, kwargs, options)
        prepared = self.prepare(name, args, kwargs, options, task, plan)
        if not options:
            self.publish((prepared,))
        elif hasattr(options.get("producer"), "add_message"):
            # A workflow collects its messages, to send them together.
            options["producer"].add_message(prepared)
        else:
            self.publish((prepared,), options.get("retry"), options.get("retry_policy"))
        return self._result(prepared, options)

    def send_many(
        self, task: Task[..., Any], calls: Iterable[Any], kwargs: Any, options: dict[str, Any]
    ) -> list[AsyncResult[Any]]:
        """Publishes many calls of a task in as few steps as can be. Raises as `Task.apply_async_many` says."""
        plan = self._builder.plan(task.name, task)
        if plan.always_eager:
            return [self._run_eagerly(plan, args, kwargs, options) for args in calls]
        if plan.unique is not None:
            return [self._send_unique(plan, plan.unique, args, kwargs, options) for args in calls]
        batch = [self.prepare(task.name, args, kwargs, options, task, plan) for args in calls]
        retry, policy = options.get("retry"), options.get("retry_policy")
        self.publish_many(batch, retry, policy)
        return [self._result(prepared, options) for prepared in batch]

    def publish_many(
        self, batch: Sequence[Prepared], retry: bool | None = None, policy: Mapping[str, Any] | None = None
    ) -> None:
        """`publish` for any number of messages: a thousand at a time."""
        for start in range(0, len(batch), _BATCH):
            self.publish(batch[start : start + _BATCH], retry, policy)

    def _result(self, prepared: Prepared, options: dict[str, Any]) -> AsyncResult[Any]:
        """The result object of a message that was published."""
        result: AsyncResult[Any]
        if options:
            result = (options.get("result_cls") or AsyncResult)(prepared.task_id, app=self._app)
        else:
            result = AsyncResult(prepared.task_id, None, None, self._app)
        if prepared.ignore_result:
            result.ignored = True
        parent: Any = _current.current_worker_request()
        if parent is not None and parent.task_object.trail and options.get("add_to_parent", True):
            parent.children.append(result)
        return result

    def _send_unique(
        self, plan: Plan, unique: Uniqueness, args: Any, kwargs: Any, options: dict[str, Any]
    ) -> AsyncResult[Any]:
        options = unique.options(options)
        lock = unique.lock(args, kwargs)
        prepared = self.prepare(plan.name, args, kwargs, options, plan.task, plan)
        bounds = self._bounds_of(options.get("retry"), options.get("retry_policy"))
        try:
            self.bind((prepared,), bounds)
        except _native.NativeError as error:
            raise from_native(error) from error
        other = unique.publish(self._app, prepared, lock, bounds)
        if other is not None:
            return other
        self.announce((prepared,))
        return self._result(prepared, options)

    def _run_eagerly(self, plan: Plan, args: Any, kwargs: Any, options: dict[str, Any]) -> AsyncResult[Any]:
        encoding = self._builder.encoding(plan, Call({**plan.defaults, **options}))
        # Through the serializer, so that a task sees what it would see in a worker.
        data = written(encoding, plan.name, (tuple(args or ()), dict(kwargs or {})))
        accept = accepted([encoding.content_type])
        args, kwargs = loads(data, encoding.content_type, encoding.content_encoding, accept)
        with denied_join_result():
            result: AsyncResult[Any] = self._app.run_eagerly(plan.task, args, kwargs, options)
        return result

    def publish(
        self, batch: Sequence[Prepared], retry: bool | None = None, policy: Mapping[str, Any] | None = None
    ) -> None:
        """Publishes messages in order. Raises OperationalError when the broker cannot be reached in time."""
        bounds = self._bounds_of(retry, policy)
        try:
            self.bind(batch, bounds)
            self._app.client.publish([prepared.message for prepared in batch], *bounds)
        except _native.NativeError as error:
            raise from_native(error) from error
        if after_task_publish.receivers or task_sent.receivers:
            self.announce(batch)

    def _bounds_of(self, retry: bool | None, policy: Mapping[str, Any] | None) -> _Bounds:
        """How long a publish with these options may take."""
        if self._version != self._conf.version:
            self._refresh()
        if retry is None and not policy:
            return self._default_bounds
        conf = self._conf
        again = conf.task_publish_retry if retry is None else retry
        return self._bounds(again, {**conf.task_publish_retry_policy, **(policy or {})})

    def announce(self, batch: Sequence[Prepared]) -> None:
        """Sends `after_task_publish` and `task_sent` for messages that have been published."""
        if not (after_task_publish.receivers or task_sent.receivers):
            return
        for prepared in batch:
            headers: Mapping[str, Any] = prepared.message["headers"]
            after_task_publish.send(
                sender=prepared.name,
                body=prepared.body,
                headers=headers,
                exchange=prepared.message["exchange"],
                routing_key=prepared.message["routing_key"],
            )
            args, kwargs, _embed = prepared.body
            task_sent.send(
                sender=prepared.name, task_id=prepared.task_id, task=prepared.name, args=args, kwargs=kwargs,
                eta=headers["eta"], taskset=headers["group"],
            )  # fmt: skip

    def bind(self, batch: Sequence[Prepared], bounds: _Bounds | None = None) -> None:
        """Makes sure that messages for named exchanges reach their queues: unbound ones would be dropped silently.

        Raises NativeError when that cannot be told to the broker.
        """
        for prepared in batch:
            exchange = prepared.message["exchange"]
            if exchange and self._bound.get(exchange) != len(self.queues):
                self._bind(exchange, bounds or self._default_bounds)

    def _bind(self, exchange: str, bounds: _Bounds) -> None:
        queues = list(self.queues.values())
        for queue in queues:
            if queue.exchange_name == exchange:
                kind: Any = queue.exchange_type
                self._app.client.bind(queue.name, exchange, queue.routing_key, kind, *bounds)
        self._bound[exchange] = len(queues)
