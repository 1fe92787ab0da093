"""`Umbel`: the application."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, tzinfo
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar, cast, overload

from umbel import _current, _native
from umbel._current import Proxy
from umbel.app.annotations import annotate
from umbel.app.builtins import add_builtin_tasks
from umbel.app.clock import timestamp, timezone_of
from umbel.app.definition import adopt_task, define_task
from umbel.app.identity import identity
from umbel.app.registry import TaskRegistry, import_tasks, task_name
from umbel.app.sending import Sender
from umbel.backends.opening import is_native, store_opener, store_settings
from umbel.config import Settings, import_by_name
from umbel.exceptions import AlwaysEagerIgnored, ImproperlyConfigured, from_native
from umbel.execution.eager import run_eagerly
from umbel.result import AsyncResult, GroupResult, ResultSet
from umbel.result.store import ResultStore
from umbel.signals import Signal, import_modules
from umbel.task import Context, Task

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from umbel.app.control import Control
    from umbel.routing import Queues
    from umbel.task import CallOptions

__all__ = ["Umbel"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_NO_RESULTS = (None, "", "disabled", "disabled://")


class Umbel:
    """An application: settings, tasks, and the way to the broker and the results.

    Creating one connects to nothing and starts no thread. It is the current application of its thread from then on,
    unless `set_as_current=False`.

    Args:
        main: Name that stands for `__main__` in task names; usually the package's.
        broker: URL of the broker.
        backend: URL of the result store.
        include: Modules with tasks, imported by workers.
        changes: Settings.
        config_source: As for `config_from_object`.
        namespace: Prefix of setting names in that source.
        task_cls: Base class of tasks, or its dotted path.
        autofinalize: Finalize when the tasks are first looked at; otherwise that is an error.
        strict_typing: Check arguments when tasks are sent.
        settings: More settings, by name.
    """

    Context = Context
    #: Base class of tasks, or its dotted path; the argument of that name replaces it.
    task_cls: type[Task[..., Any]] | str = Task

    def __init__(
        self,
        main: str | None = None,
        *,
        broker: str | None = None,
        backend: str | None = None,
        include: Iterable[str] | None = None,
        changes: Mapping[str, Any] | None = None,
        config_source: Any = None,
        namespace: str | None = None,
        task_cls: type[Task[..., Any]] | str | None = None,
        set_as_current: bool = True,
        autofinalize: bool = True,
        strict_typing: bool = True,
        tasks: TaskRegistry | None = None,
        loader: Any = None,
        **settings: Any,
    ) -> None:
        self.main: str | None = main
        self.registry = TaskRegistry() if tasks is None else tasks
        self.autofinalize = autofinalize
        self.strict_typing = strict_typing
        self.finalized = False
        self.on_configure = Signal("app.on_configure")
        self.on_after_configure = Signal("app.on_after_configure")
        self.on_after_finalize = Signal("app.on_after_finalize")
        self._lock = threading.RLock()
        if task_cls is not None:
            self.task_cls = task_cls
        self._task_base: type[Task[..., Any]] | None = None
        self._client: _native.Client | None = None
        self._client_version = -1
        self._results: ResultStore | None = None
        self._results_version = -1
        self._timezone: tzinfo | None = None
        self._timezone_version = -1
        self._conf = Settings(**_given(broker, backend, include), **dict(changes or {}), **settings)
        self.sender = Sender(self)
        config_module = os.environ.get("CELERY_CONFIG_MODULE")
        if config_source is not None:
            self._conf.load_later(config_source, namespace)
        elif config_module:
            self._conf.load_later(config_module)
        if set_as_current:
            self.set_current()
        _current.register_app(self)
        self.on_init()

    def on_init(self) -> None:
        """Called at the end of `__init__`; for subclasses."""

    # --- settings

    @property
    def conf(self) -> Settings:
        """The settings."""
        return self._conf

    def config_from_object(
        self, obj: Any, silent: bool = False, force: bool = False, namespace: str | None = None
    ) -> None:
        """Takes settings from a module, object or dict, or the dotted path of one, when they are first needed.

        Args:
            silent: Ignore a module that cannot be imported.
            force: Read it now.
            namespace: Only names that begin with it, such as `CELERY`, are settings.
        """
        if silent and isinstance(obj, str):
            try:
                obj = import_by_name(obj)
            except (ImportError, ImproperlyConfigured):
                return
        self._conf.load_later(obj, namespace)
        if force:
            self._conf.load()

    def config_from_envvar(self, variable_name: str, silent: bool = False, force: bool = False) -> None:
        """`config_from_object` with the module an environment variable names. Raises ImproperlyConfigured."""
        module = os.environ.get(variable_name)
        if module:
            self.config_from_object(module, silent=silent, force=force)
        elif not silent:
            raise ImproperlyConfigured(
                f"The environment variable {variable_name!r} is not set; it must name a module with settings"
            )

    def add_defaults(self, defaults: Mapping[str, Any] | Callable[[], Mapping[str, Any]]) -> None:
        """Replaces defaults of settings, and declares settings of your own."""
        self._conf.add_defaults(defaults)

    @property
    def timezone(self) -> tzinfo:
        """The time zone of moments we write and of naive ones we read."""
        if self._timezone is None or self._timezone_version != self._conf.version:
            self._timezone = timezone_of(self._conf)
            self._timezone_version = self._conf.version
        return self._timezone

    def now(self) -> datetime:
        """This moment, in `timezone`."""
        return datetime.fromtimestamp(timestamp(), self.timezone)

    # --- tasks

    @overload
    def task(self, fun: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def task(
        self, /, *, bind: Literal[True], **options: Any
    ) -> Callable[[Callable[Concatenate[Any, P], R]], Task[P, R]]: ...
    @overload
    def task(self, /, *, bind: Literal[False] = ..., **options: Any) -> Callable[[Callable[P, R]], Task[P, R]]: ...
    def task(self, fun: Callable[..., Any] | None = None, /, **options: Any) -> Any:
        """Makes a task of a function: `@app.task`, or `@app.task(bind=True, max_retries=5)`.

        Options are the attributes of `Task`, and `name`, `base` (a class of tasks) and `bind` (the function gets the
        task as its first argument).
        """

        def define(function: Callable[..., Any]) -> Task[..., Any]:
            return define_task(self, function, dict(options), self.Task)

        if fun is None:
            return define
        if not callable(fun):
            raise TypeError(f"@app.task takes a function, not {type(fun).__name__}")
        return define(fun)

    def register_task(self, task: Any, **options: Any) -> Any:
        """Registers a task class, or an instance of one, under its `name` or the name of its class."""
        instance = task() if isinstance(task, type) else task
        for name, value in options.items():
            setattr(instance, name, value)
        return adopt_task(self, instance)

    @property
    def Task(self) -> Any:
        """The base class of this application's tasks; it may be replaced."""
        if self._task_base is None:
            base: Any = self.task_cls
            if isinstance(base, str):
                base = import_by_name(base)
            self._task_base = type(
                base.__name__,
                (base,),
                {"_app": self, "abstract": True, "typing": self.strict_typing, "__module__": base.__module__},
            )
        return self._task_base

    @Task.setter
    def Task(self, base: Any) -> None:
        self.task_cls, self._task_base = base, None

    @property
    def tasks(self) -> TaskRegistry:
        """All tasks by name; looking at them finalizes the application."""
        if not self.finalized:
            self.finalize(auto=True)
        return self.registry

    def finalize(self, auto: bool = False) -> None:
        """Completes the registry: shared tasks, built-in tasks, `task_annotations`."""
        with self._lock:
            if self.finalized:
                return
            if auto and not self.autofinalize:
                raise RuntimeError("The application is not finalized: call app.finalize() first (autofinalize is off)")
            # Tasks that are registered from now on are annotated then.
            registered = list(self.registry.values())
            self.finalized = True
            self._conf.load()
            self.on_after_configure.send(sender=self, source=self._conf)
            annotate(registered, self._conf.task_annotations)
            _current.announce_app(self)
            add_builtin_tasks(self)
            self.on_after_finalize.send(sender=self)

    def gen_task_name(self, name: str, module: str | None) -> str:
        """The name of a task that is given none."""
        return task_name(self.main, name, module)

    def autodiscover_tasks(
        self,
        packages: Iterable[str] | Callable[[], Iterable[str]] | None = None,
        related_name: str | None = "tasks",
        force: bool = False,
    ) -> None:
        """Imports the module `tasks` of each package: when a worker imports its modules, or now if `force`."""

        def discover(**_: Any) -> None:
            names = packages() if callable(packages) else packages
            for package in names or ():
                import_tasks(package, related_name)

        if force:
            discover()
        else:
            import_modules.connect(discover, weak=False, sender=self)

    def import_default_modules(self) -> None:
        """Imports what `imports`, `include` and `autodiscover_tasks` name."""
        for name in (*self._conf.imports, *self._conf.include):
            import_by_name(name)
        for _, response in import_modules.send(sender=self):
            if isinstance(response, Exception):
                raise response

    # --- sending and results

    def send_task(
        self,
        name: str,
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[CallOptions],
    ) -> AsyncResult[Any]:
        """Sends a task by name; it need not be known here. If it is, its options apply. Raises as `apply_async`."""
        task = self.registry.get(name)
        if self._conf.task_always_eager:
            warnings.warn("task_always_eager has no effect on send_task", AlwaysEagerIgnored, stacklevel=2)
        return self.sender.send(name, args, kwargs, cast("dict[str, Any]", options), task, by_name=True)

    @property
    def client(self) -> _native.Client:
        """The core's connection to broker and result store, made at first use. Raises ImproperlyConfigured."""
        if self._client is None or self._client_version != self._conf.version:
            self._connect()
        return cast(_native.Client, self._client)

    def _connect(self) -> None:
        with self._lock:
            self._conf.load()
            version = self._conf.version
            conf = self._conf
            broker = conf.broker_write_url
            broker = broker if isinstance(broker, str) else ";".join(broker)
            backend = None if conf.result_backend in _NO_RESULTS else conf.result_backend
            options = {
                "publish_timeout": conf.broker_connection_timeout,
                "broker_transport_options": dict(conf.broker_transport_options or {}),
                "result_backend_transport_options": dict(conf.result_backend_transport_options or {}),
            }
            settings = {} if is_native(backend) else store_settings(conf)
            key = (broker, backend, repr(options), repr(settings))
            if settings:
                options["open_results"] = store_opener(backend, settings)
            if self._client is None or key != self._client_key:
                try:
                    self._client = _native.Client(broker, backend, options)
                except _native.NativeError as error:
                    raise from_native(error) from error
                self._client_key = key
            self._client_version = version

    _client_key: tuple[Any, ...] = ()

    @cached_property
    def control(self) -> Control:
        """Speaks to the workers: revokes tasks, changes limits, asks who is there."""
        from umbel.app.control import Control

        return Control(self)

    @property
    def results(self) -> ResultStore:
        """The result store."""
        if self._results is None or self._results_version != self._conf.version:
            with self._lock:
                self._conf.load()
                self._results_version = self._conf.version
                self._results = ResultStore(self)
        return self._results

    @property
    def backend(self) -> ResultStore:
        """`results`, under Celery's name."""
        return self.results

    def AsyncResult(self, id: str, **kwargs: Any) -> AsyncResult[Any]:
        """The result of the task with that id."""
        return AsyncResult(id, app=self, **kwargs)

    def signature(self, *args: Any, **kwargs: Any) -> Any:
        """`umbel.signature` for this application."""
        from umbel.canvas import signature

        kwargs["app"] = self
        return signature(*args, **kwargs)

    subtask = signature

    @property
    def GroupResult(self) -> type[GroupResult[Any]]:
        """The class of this application's group results: `app.GroupResult.restore(id)`."""
        return type("GroupResult", (GroupResult,), {"_app": self, "__module__": GroupResult.__module__})

    @property
    def ResultSet(self) -> type[ResultSet[Any]]:
        """The class of this application's result sets."""
        return type("ResultSet", (ResultSet,), {"_app": self, "__module__": ResultSet.__module__})

    def run_eagerly(self, task: Any, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        """Runs a task in place; returns an EagerResult."""
        if self._conf.task_annotations and not self.finalized:
            self.finalize(auto=True)
        return run_eagerly(self, task, args, kwargs, options)

    def store_state(self, request: Any, task_id: str, state: str | None, meta: Any) -> None:
        """Stores a state of a running task, in order with its outcome."""
        if request.is_eager and not request.task_object.store_eager_result:
            return
        if request.link is None or task_id != request.id:
            self.results.store(task_id, state or "", meta, request=request)
            return
        attempts = request.attempts_to_tell(state or "", self.now())
        record = self.results.format.write(task_id, state or "", meta, request=request, attempts=attempts)
        request.link.started(request.job, record, self.results.format.expires_for(state or ""), state=state or "")

    @property
    def queues(self) -> Queues:
        """The queues of this application."""
        return self.sender.queues

    def select_queues(self, queues: str | Iterable[str] | None = None) -> None:
        """What a worker in this process consumes from (`-Q`)."""
        if queues:
            self.sender.queues.select(queues.split(",") if isinstance(queues, str) else queues)

    # --- command line

    def start(self, argv: Sequence[str] | None = None) -> int:
        """Runs the command line for this application and returns the exit status; `argv` without the program's name."""
        status: int = import_module("umbel.cli").main(argv, app=self)
        return status

    def worker_main(self, argv: Sequence[str] | None = None) -> int:
        """Runs a worker: `app.worker_main(["worker", "--loglevel=INFO"])`. Raises ValueError without `worker`."""
        arguments = list(sys.argv[1:] if argv is None else argv)
        if "worker" not in arguments:
            raise ValueError("worker_main() needs 'worker' among its arguments; app.start() runs other commands")
        return self.start(arguments)

    # --- life

    def set_current(self) -> None:
        """Makes this the current application of the calling thread."""
        _current.set_current_app(self)

    def set_default(self) -> None:
        """Makes this the application of threads that have no current one."""
        _current.set_default_app(self)

    @property
    def current_task(self) -> Any:
        """The task that runs here and now, or None."""
        return _current.current_task()

    @property
    def current_worker_task(self) -> Any:
        """The same, looking through direct calls of tasks by tasks."""
        request = _current.current_worker_request()
        return None if request is None else request.task_object

    @property
    def thread_oid(self) -> str:
        """A uuid of the calling thread."""
        return identity.thread_oid

    def close(self) -> None:
        """Disconnects. The application connects anew when it is used again."""
        with self._lock:
            client, self._client = self._client, None
        if self._results is not None:
            self._results.close()
        if client is not None:
            client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.main or '__main__'}>"


def _given(broker: str | None, backend: str | None, include: Iterable[str] | None) -> dict[str, Any]:
    given = {"broker_url": broker, "result_backend": backend, "include": include}
    return {name: value for name, value in given.items() if value is not None}


def _make_default() -> Umbel:
    return Umbel("default", set_as_current=False)


_current.set_app_factory(_make_default)

#: Stand for the current application and the running task.
current_app: Umbel = cast(Umbel, Proxy(_current.current_app))
current_task: Any = Proxy(_current.current_task)
