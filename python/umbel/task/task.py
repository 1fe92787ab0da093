"""`Task`: what `@app.task` makes of a function, and the base of task classes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextvars import Token
from datetime import datetime
from importlib import import_module
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, Generic, ParamSpec, TypeVar, overload

from umbel import _current
from umbel.exceptions import Ignore, MaxRetriesExceededError, Reject, Retry, safe_repr
from umbel.result import AsyncResult, EagerResult
from umbel.task.arguments import ArgumentCheck
from umbel.task.options import FromSetting, from_setting
from umbel.task.request import Context
from umbel.task.retry import merged_arguments

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from umbel.task.options import CallOptions

__all__ = ["Task"]

P = ParamSpec("P")
# Covariant, so that a task of an `async def` (whose type checkers have several names for) is one of a coroutine.
R = TypeVar("R", covariant=True)
T = TypeVar("T")

#: Attributes a message does not depend on; all others make the sender look again.
_UNSENT = frozenset({"request", "max_retries", "default_retry_delay"})


class Task(Generic[P, R]):
    """A task: called, it runs here; with `delay` or `apply_async`, in a worker.

    One instance exists in each process. Options are class attributes; those that are not given have the value of
    their setting.
    """

    #: The application; the current one if the task was registered with none.
    _app: ClassVar[Any] = None
    __bound__: ClassVar[bool] = False

    name: str = ""
    #: Check arguments when the task is sent.
    typing: bool = True
    max_retries: int | None = 3
    #: Seconds.
    default_retry_delay: float = 3 * 60
    rate_limit: str | int | float | None = from_setting()
    #: Whose limit it is: each `worker`'s, or that of all of them together, the `cluster`'s.
    rate_limit_scope: str = "worker"
    ignore_result: bool = from_setting()
    #: Note the tasks this one sends, as `result.children`.
    trail: bool = True
    send_events: bool = True
    store_errors_even_if_ignored: bool = from_setting()
    serializer: str = from_setting()
    compression: str | None = from_setting()
    #: Seconds.
    time_limit: float | None = from_setting()
    soft_time_limit: float | None = from_setting()
    track_started: bool = from_setting()
    acks_late: bool = from_setting()
    acks_on_failure_or_timeout: bool = from_setting()
    acks_on_failure: bool = from_setting()
    acks_on_timeout: bool = from_setting()
    reject_on_worker_lost: bool = from_setting()
    retry_on_worker_lost: bool = from_setting()
    store_eager_result: bool = from_setting()
    #: Exceptions that are no surprise: logged without traceback, at level INFO.
    throws: tuple[type[BaseException], ...] = ()
    #: Seconds, or a moment.
    expires: float | datetime | None = None
    priority: int | None = from_setting()
    #: Characters of the result shown in logs.
    resultrepr_maxsize: int = 1024
    abstract: bool = True

    #: One that waits or runs keeps others like it from being sent.
    unique: bool = False
    #: What "like it" means: names of parameters, or a function of the arguments; None: all arguments.
    unique_key: Any = None
    #: How long it may keep others out at most, seconds.
    unique_for: float = 24 * 3600
    #: When others may be sent again: at its `end`, at its `start`, or only after the `window` of `unique_for`.
    unique_until: str | None = None
    #: What becomes of another: the caller gets the result of the `existing` one, DuplicateTaskError is `raise`d, or it
    #: is sent to `replace` the one that waits.
    unique_on_duplicate: str | None = None
    #: Wait this long for others like it, and run the last one, seconds.
    debounce: float | None = None

    #: How many may run at a time, in all workers of the broker together.
    concurrency_limit: int | None = None
    #: The limit holds for each key: names of parameters, or a function of the arguments; None: for all calls together.
    concurrency_key: Any = None

    #: Who shares the queue fairly: names of parameters, a function of the arguments, or True where each call says it
    #: (`apply_async(fair_key=...)`); None: first come, first served.
    fair_key: Any = None
    #: So many calls are run at once, by a task whose base is `umbel.contrib.batches.Batches`; None: each by itself.
    flush_every: int | None = None
    #: Fewer are run when the first of them has waited for so long, seconds.
    flush_interval: float = 30.0

    autoretry_for: Sequence[type[BaseException]] = ()
    dont_autoretry_for: Sequence[type[BaseException]] = ()
    retry_kwargs: Mapping[str, Any] | None = None
    #: False, True (1 s) or the seconds of the first delay, which doubles with each try.
    retry_backoff: bool | float = False
    retry_backoff_max: float = 600
    retry_jitter: bool = True

    MaxRetriesExceededError = MaxRetriesExceededError

    #: What the sender worked out about this task; it belongs to `umbel.app.sending`.
    _plan: Any = None
    _check: ArgumentCheck | None = None
    #: Turns models among the arguments into plain values (`pydantic=True`, `dataclasses=True`).
    _models: Any = None

    # --- the task itself

    @property
    def app(self) -> Any:
        """The application."""
        app = type(self)._app
        return _current.current_app() if app is None else app

    def run(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The body."""
        raise NotImplementedError(f"Tasks must define the run method; {type(self).__name__} does not")

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs the body here and now, with a request of its own."""
        request = Context(args=args, kwargs=kwargs, task_object=self, outer=_current.current_request())
        token = _current.push_request(request)
        try:
            return self.run(*args, **kwargs)
        finally:
            _current.pop_request(token)

    @property
    def request(self) -> Context:
        """The request this task runs for; an empty one if it does not run."""
        request: Any = _current.current_request()
        while request is not None:
            if request.task_object is self:
                found: Context = request
                return found
            request = request.outer
        return Context()

    def push_request(self, *args: Any, **kwargs: Any) -> Token[Any]:
        """Pretends that the task runs for a request of these fields, for tests."""
        request = Context(*args, **kwargs)
        request.task_object, request.outer = self, _current.current_request()  # type: ignore[assignment]
        token = _current.push_request(request)
        request.__dict__["_token"] = token
        return token

    def pop_request(self) -> None:
        """Undoes the last `push_request`."""
        _current.pop_request(self.request.__dict__["_token"])

    # --- sending

    @overload
    def delay(self: Task[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> AsyncResult[T]: ...
    @overload
    def delay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]: ...
    def delay(self, *args: Any, **kwargs: Any) -> AsyncResult[Any]:
        """Sends the task with these arguments; `apply_async` takes options as well."""
        return self.apply_async(args, kwargs)

    @overload
    def apply_async(
        self: Task[P, Coroutine[Any, Any, T]],
        args: Sequence[Any] | None = ...,
        kwargs: Mapping[str, Any] | None = ...,
        **options: Unpack[CallOptions],
    ) -> AsyncResult[T]: ...
    @overload
    def apply_async(
        self,
        args: Sequence[Any] | None = ...,
        kwargs: Mapping[str, Any] | None = ...,
        **options: Unpack[CallOptions],
    ) -> AsyncResult[R]: ...
    def apply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncResult[Any]:
        """Sends the task. Options are those of `CallOptions`.

        Raises:
            TypeError: The arguments do not fit the function (unless `typing=False`).
            ValueError: The soft time limit is above the hard one.
            umbel.exceptions.EncodeError: An argument cannot be serialized.
            umbel.exceptions.OperationalError: The broker cannot be reached in time.
        """
        if self._check is not None and self.typing:
            self._check(args or (), kwargs or {})
        if self._models is not None:
            args, kwargs = self._models.dump(args, kwargs)
        result: AsyncResult[Any] = self.app.sender.send(self.name, args, kwargs, options, self)
        return result

    @overload
    def apply_async_many(
        self: Task[P, Coroutine[Any, Any, T]],
        calls: Iterable[Sequence[Any]],
        kwargs: Mapping[str, Any] | None = ...,
        **options: Unpack[CallOptions],
    ) -> list[AsyncResult[T]]: ...
    @overload
    def apply_async_many(
        self,
        calls: Iterable[Sequence[Any]],
        kwargs: Mapping[str, Any] | None = ...,
        **options: Unpack[CallOptions],
    ) -> list[AsyncResult[R]]: ...
    def apply_async_many(
        self, calls: Iterable[Sequence[Any]], kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> list[AsyncResult[Any]]:
        """Sends the task once for each element of `calls`, in order: `add.apply_async_many([(1, 2), (3, 4)])`.

        Much faster than one `apply_async` after another: the broker confirms up to a thousand messages in one step.

        Args:
            calls: Positional arguments of each call.
            kwargs: Keyword arguments they all have.
            options: Those of `CallOptions` except `task_id`, for all of them.

        Raises:
            TypeError: The arguments of a call do not fit, or `task_id` is given. Nothing has been sent then, nor after
                ValueError and EncodeError, which are those of `apply_async`.
            umbel.exceptions.OperationalError: The broker cannot be reached in time. The first calls may have been
                sent.
        """
        if options.get("task_id") is not None:
            raise TypeError("apply_async_many() takes no task_id: each call has one of its own")
        calls = list(calls)
        if self._check is not None and self.typing:
            for args in calls:
                self._check(args, kwargs or {})
        if self._models is not None:
            calls = [self._models.dump(args, None)[0] for args in calls]
            kwargs = self._models.dump(None, kwargs)[1]
        results: list[AsyncResult[Any]] = self.app.sender.send_many(self, calls, kwargs, options)
        return results

    @overload
    async def adelay(self: Task[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> AsyncResult[T]: ...
    @overload
    async def adelay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]: ...
    async def adelay(self, *args: Any, **kwargs: Any) -> AsyncResult[Any]:
        """`delay` that lets other coroutines run while the broker confirms."""
        return await self.aapply_async(args, kwargs)

    @overload
    async def aapply_async(
        self: Task[P, Coroutine[Any, Any, T]],
        args: Sequence[Any] | None = ...,
        kwargs: Mapping[str, Any] | None = ...,
        **options: Unpack[CallOptions],
    ) -> AsyncResult[T]: ...
    @overload
    async def aapply_async(
        self,
        args: Sequence[Any] | None = ...,
        kwargs: Mapping[str, Any] | None = ...,
        **options: Unpack[CallOptions],
    ) -> AsyncResult[R]: ...
    async def aapply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncResult[Any]:
        """`apply_async` that lets other coroutines run while the broker confirms."""
        import asyncio  # Loaded already where a coroutine runs; `import umbel` is spared it.

        result: AsyncResult[Any] = await asyncio.to_thread(self.apply_async, args, kwargs, **options)
        return result

    @overload
    def apply(
        self: Task[P, Coroutine[Any, Any, T]],
        args: Sequence[Any] | None = ...,
        kwargs: Mapping[str, Any] | None = ...,
        **options: Any,
    ) -> EagerResult[T]: ...
    @overload
    def apply(
        self, args: Sequence[Any] | None = ..., kwargs: Mapping[str, Any] | None = ..., **options: Any
    ) -> EagerResult[R]: ...
    def apply(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> EagerResult[Any]:
        """Runs the task here, as a worker would: with a request, retries, hooks and signals.

        Options: `throw` (raise what the task raises; `task_eager_propagates` by default), `task_id`, `retries`,
        `link`, `link_error`, `headers` and other fields of the request.
        """
        result: EagerResult[Any] = self.app.run_eagerly(self, args, kwargs, options)
        return result

    # --- signatures

    def signature(self, args: Any = None, *starargs: Any, **starkwargs: Any) -> Any:
        """A call of this task as a value: `signature(args, kwargs, options)`; see `umbel.canvas.Signature`."""
        from umbel.canvas import Signature  # What does not use workflows is spared loading them.

        starkwargs.setdefault("app", type(self)._app)
        return Signature(self, args, *starargs, **starkwargs)

    subtask = signature

    def s(self, *args: Any, **kwargs: Any) -> Any:
        """A call with these arguments as a value; it takes further ones when it is called."""
        return self.signature(args, kwargs)

    def si(self, *args: Any, **kwargs: Any) -> Any:
        """The same, immutable: it takes no further arguments, such as the result of the step before."""
        return self.signature(args, kwargs, immutable=True)

    def chunks(self, it: Iterable[Any], n: int) -> Any:
        """Calls with the arguments in `it`, `n` of them in a message."""
        from umbel.canvas import chunks

        return chunks(self.s(), it, n, app=type(self)._app)

    def map(self, it: Iterable[Any]) -> Any:
        """One message that calls the task with each item of `it`, in turn."""
        from umbel.canvas import xmap

        return xmap(self.s(), it, app=type(self)._app)

    def starmap(self, it: Iterable[Any]) -> Any:
        """The same with the elements of each item as arguments."""
        from umbel.canvas import xstarmap

        return xstarmap(self.s(), it, app=type(self)._app)

    def AsyncResult(self, task_id: str, **kwargs: Any) -> AsyncResult[Any]:
        """The result of a task of this kind with that id."""
        result: AsyncResult[Any] = self.app.AsyncResult(task_id, task_name=self.name, **kwargs)
        return result

    def shadow_name(self, args: Any, kwargs: Any, options: Mapping[str, Any]) -> str | None:
        """Override to show another name in logs, chosen for each call."""
        return None

    # --- while it runs

    def retry(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: datetime | None = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Retry:
        """Has the task run again later, and ends this run by raising Retry; write `raise self.retry(...)`.

        In a worker the new message is published in the same step in which this one is acknowledged.

        Args:
            args: Other arguments for the next run; likewise `kwargs`.
            exc: What went wrong: shown in the result, and raised once there are no retries left.
            throw: False returns the Retry rather than raising it.
            eta: Moment of the next run.
            countdown: Seconds until the next run; `default_retry_delay` if neither is given.
            max_retries: Limit for this call, in place of the task's.
            options: Of `apply_async`.

        Raises:
            Retry: Always, unless `throw=False`.
            MaxRetriesExceededError: There are none left and no `exc` was given.
        """
        request = self.request
        retries = request.retries + 1
        limit = self.max_retries if max_retries is None else max_retries
        if request.called_directly:
            _raise_in_context(exc or Retry("Task can be retried", None))
        if not eta and countdown is None:
            countdown = self.default_retry_delay
        new_args, new_kwargs = merged_arguments(self.run, request, args, kwargs)
        if limit is not None and retries > limit:
            if exc is not None:
                _raise_in_context(exc)
            raise self.MaxRetriesExceededError(
                f"Can't retry {self.name}[{request.id}] args:{new_args} kwargs:{new_kwargs}",
                task_args=new_args,
                task_kwargs=new_kwargs,
            )
        send = self._retry_options(request)
        send.update(countdown=countdown, eta=eta, retries=retries, **options)
        retry = Retry(exc=exc, when=eta or countdown, is_eager=request.is_eager, sig=(new_args, new_kwargs, send))
        if not request.is_eager:
            if not send["ignore_result"]:
                tries = request.attempts("RETRY", safe_repr(retry if exc is None else exc), self.app.now())
                send["headers"] = {**(send.get("headers") or {}), "umbel_attempts": tries}
            self._hand_in_retry(request, new_args, new_kwargs, send)
        if throw:
            raise retry
        return retry

    def _retry_options(self, request: Context) -> dict[str, Any]:
        options = request.as_execution_options()
        options["ignore_result"] = self.ignore_result if request.ignore_result is None else request.ignore_result
        info = request.delivery_info or {}
        if info.get("priority") is not None:
            options["priority"] = info["priority"]
        exchange, routing_key = info.get("exchange"), info.get("routing_key")
        if exchange:
            options.update(exchange=exchange, routing_key=routing_key)
        elif routing_key:
            options["queue"] = routing_key
        return options

    def signature_from_request(
        self,
        request: Context | None = None,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        queue: str | None = None,
        **extra_options: Any,
    ) -> Any:
        """The signature of a call like the one that runs: its arguments, workflow and destination.

        Args:
            request: Another call than the present one.
            args: Other arguments; likewise `kwargs`.
            queue: Another destination.
            extra_options: Of `apply_async`.
        """
        request = self.request if request is None else request
        options = {**self._retry_options(request), **extra_options}
        if queue:
            options.update(queue=queue, exchange=None, routing_key=None)
        return self.signature(
            request.args if args is None else args, request.kwargs if kwargs is None else kwargs, options
        )

    subtask_from_request = signature_from_request

    def _hand_in_retry(self, request: Context, args: Any, kwargs: Any, options: dict[str, Any]) -> None:
        try:
            prepared = self.app.sender.prepare(self.name, tuple(args or ()), kwargs, options, self)
        except Exception as error:
            # A plain failure would lose arguments that cannot be sent again; the dead letters keep them.
            raise Reject(error, requeue=False) from error
        request.follow_ups.append(prepared)

    def replace(self, sig: Any) -> Any:
        """Ends this run and has `sig` take the task's place: its id, links, chain and chord. Write
        `return self.replace(...)`.

        Raises:
            Ignore: Always, unless the task runs in place (`apply`), where what `sig` returns is returned.
            ImproperlyConfigured: `sig` counts for a chord of its own, or is an empty chain.
        """
        from umbel.canvas.replacing import replacement

        request = self.request
        sig = replacement(self.app, request, sig)
        if request.is_eager or request.called_directly:
            return sig.apply().get(disable_sync_subtasks=False)
        request.__dict__["replaced"] = True
        return self.on_replace(sig)

    def on_replace(self, sig: Any) -> Any:
        """Sends what takes the task's place; override to change it first. Raises Ignore."""
        from umbel.canvas import Outbox

        outbox = Outbox()
        sig.apply_async(producer=outbox, add_to_parent=False)
        self.request.follow_ups.extend(outbox.messages)
        raise Ignore("Replaced by new task")

    def add_to_chord(self, sig: Any, lazy: bool = False) -> Any:
        """Adds a call to the header of the chord this task is a member of, and sends it, unless `lazy`.

        Which place its result has among the others is up to the store. Raises ValueError where there is no chord.
        """
        request = self.request
        if not request.chord:
            raise ValueError("Current task is not member of any chord")
        sig.set(group_id=request.group, group_index=request.group_index, chord=request.chord, root_id=request.root_id)
        added = request.__dict__.setdefault("_added_to_chord", [])
        added.append(sig.freeze().as_tuple())
        self.app.results.extend_chord(request.group, request.id, added)
        return sig if lazy else sig.delay()

    def update_state(
        self, task_id: str | None = None, state: str | None = None, meta: Any = None, **kwargs: Any
    ) -> None:
        """Stores a state of your own, such as PROGRESS with details in `meta`, while the task runs."""
        request = self.request
        if task_id is None or task_id == request.id:
            self.app.store_state(request, task_id or request.id, state, meta)
        else:
            self.app.results.store(task_id, state, meta)

    def progress(self, done: float, total: float | None = None, message: str | None = None, every: float = 0.1) -> None:
        """Tells how far the task has come: the state PROGRESS with `{"current": done, "total": total}`.

        Whoever holds the result sees it as `result.state` and `result.info`, and is told by `get(on_message=...)`.

        Args:
            done: How much is done.
            total: Of how much; None if that is not known.
            message: Words for people.
            every: Calls that come sooner than this after the last one that was told are left out (seconds); the
                end is always told.
        """
        request, now = self.request, monotonic()
        told_at = request.__dict__.get("_progress_at")
        if told_at is not None and now - told_at < every and done != total:
            return
        request.__dict__["_progress_at"] = now
        meta: dict[str, Any] = {"current": done, "total": total}
        if message is not None:
            meta["message"] = message
        self.update_state(state="PROGRESS", meta=meta)

    def add_trail(self, result: Any) -> Any:
        """Lists a result among the running task's children."""
        if self.trail:
            self.request.children.append(result)
        return result

    # --- hooks

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Called before the task runs."""

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        """Called after it returned."""

    def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Called when it is to be retried."""

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Called after it failed."""

    def after_return(self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Called after it succeeded or failed."""

    @classmethod
    def bind(cls, app: Any) -> Any:
        """Ties the class to an application."""
        cls._app = app
        cls.__bound__ = True
        cls.on_bound(app)
        return app

    @classmethod
    def on_bound(cls, app: Any) -> None:
        """Called when the class is tied to an application."""

    # --- as a value

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, value in list(cls.__dict__.items()):
            # None in place of an option that has a setting means "the setting", as in Celery.
            if value is None and isinstance(getattr(Task, "__dict__", {}).get(name), FromSetting):
                delattr(cls, name)

    def prepare(self) -> None:
        """Called once when the task is registered: learns how `run` may be called."""
        run = self.run
        function: Callable[..., Any] = getattr(run, "__func__", run)
        bound = getattr(run, "__self__", None) is self
        self._check = ArgumentCheck(function, bound)

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if not name.startswith("_") and name not in _UNSENT:
            object.__setattr__(self, "_plan", None)

    def __repr__(self) -> str:
        app = type(self)._app
        return f"<@task: {self.name} of {app.main if app is not None and app.main else 'default'}>"

    def __reduce__(self) -> Any:
        return _unpickle, (self.name, type(self).__module__)


def _unpickle(name: str, module: str) -> Any:
    tasks: Any = _current.current_app().tasks
    if name not in tasks and module not in sys.modules:
        import_module(module)
    return tasks[name]


def _raise_in_context(error: BaseException) -> None:
    """Raises `error`, chained to the exception being handled, if any."""
    current = sys.exc_info()[1]
    if current is None or current is error:
        raise error
    raise error from current
