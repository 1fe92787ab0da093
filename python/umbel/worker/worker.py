"""A worker, from its options to its exit status."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from umbel import logs
from umbel._native import Client, NativeError
from umbel._native import Worker as Engine
from umbel.config import Settings
from umbel.exceptions import ImproperlyConfigured
from umbel.pools.app_finder import AppNotFoundError, add_working_directory
from umbel.pools.base import AppSource, LogOptions, MainThreadPool, Pool, PoolOptions
from umbel.pools.catalogue import pool_class
from umbel.pools.description import AppDescription, task_entry
from umbel.worker.autoscale import Autoscaler, make_autoscaler
from umbel.worker.banner import banner_lines, describe_url, show_banner
from umbel.worker.control import Mailbox, WorkerState
from umbel.worker.options import WorkerOptions, engine_options
from umbel.worker.paths import expand_path
from umbel.worker.pidfile import PidFile
from umbel.worker.signal_inbox import SignalInbox
from umbel.worker.supervisor import RetryLimits, Supervisor
from umbel.worker.task_signals import TaskSignals

if TYPE_CHECKING:
    from umbel.app import Umbel

logger = logging.getLogger("umbel.worker")

_STOP_SIGNALS = {"warm": 15, "cold": 3}
#: How long `stop` may wait for a supervisor in another thread (seconds).
_JOIN = 60.0
#: How long the worker's own calls to a broker may take (seconds): its signals wait meanwhile.
_PATIENCE = 5.0
#: How long the task of a solo worker may go on after the engine has stopped (seconds).
_AFTER_STOP = 0.5


class Worker:
    """Runs tasks until it is told to stop.

    Args:
        app: The application, or
        app_path: where `-A` would find it. The prefork pool then leaves the import to its fork server.
        options: See `WorkerOptions`; single ones may be given as keywords instead.
    """

    def __init__(
        self,
        app: Umbel | None = None,
        *,
        app_path: str | None = None,
        options: WorkerOptions | None = None,
        **keywords: Any,
    ) -> None:
        if app is None and app_path is None:
            raise TypeError("Worker() needs an app or an app_path")
        self.options = options or WorkerOptions(**keywords)
        #: Set once the broker has been reached.
        self.ready = threading.Event()
        #: Set when it has ended.
        self.stopped = threading.Event()
        self._app = app
        self._app_path = app_path
        self._engine: Engine | None = None
        self._inbox = SignalInbox()
        self._restart = False
        self._directory = str(Path.cwd())

    @property
    def hostname(self) -> str:
        """The node name."""
        return self.options.node

    def run(self, signals: bool = True) -> int:
        """Works until stopped and returns the exit status; restarts the program if that was asked for.

        Args:
            signals: Whether the process's signals are this worker's (False: only `stop` ends it).

        Raises:
            AppNotFoundError: The app cannot be imported.
            ImproperlyConfigured: A setting or URL cannot work.
        """
        with contextlib.ExitStack() as stack:
            if self.options.pidfile:
                pidfile = PidFile(expand_path(self.options.pidfile, self.hostname))
                pidfile.acquire()
                stack.callback(pidfile.release)
            stack.callback(self.stopped.set)
            stack.callback(self._inbox.close)
            status = self._run(signals)
        if self._restart:
            self._restart_program()
        return status

    @property
    def app(self) -> Umbel | None:
        """The application, where this process has it."""
        return self._app

    def reload(self, modules: Sequence[str] = (), reload: bool = False, reloader: Any = None) -> None:
        """Tells the engine of tasks that were defined since it started; for pools that run them in this process.

        Args:
            modules: To import first.
            reload: Import them anew even if they have been imported.
            reloader: What does that; `importlib.reload` by default.

        Raises:
            RuntimeError: The worker does not run, or its tasks run in other processes.
        """
        if self._engine is None or self._app is None:
            raise RuntimeError("Only a worker that runs its tasks in this process can be told of new ones")
        for name in modules:
            known = sys.modules.get(name)
            if known is None:
                importlib.import_module(name)
            elif reload:
                (reloader or importlib.reload)(known)
        self._engine.set_tasks([task_entry(task) for task in self._app.tasks.values()])

    def stats(self) -> dict[str, Any]:
        """The engine's numbers (see `umbel._native.Worker.stats`). Raises RuntimeError unless it runs."""
        if self._engine is None:
            raise RuntimeError("The worker does not run")
        return self._engine.stats()

    def tick(self) -> None:
        """Makes the engine look at the clock, which was moved."""
        if self._engine is not None:
            self._engine.tick()

    def stop(self, kind: Literal["warm", "cold"] = "warm") -> None:
        """Tells it to stop, from any thread. Warm: running tasks finish first; cold: they go back to the queue."""
        self._inbox.post(_STOP_SIGNALS[kind])

    # --- steps ---------------------------------------------------------------------------------------------------

    def _run(self, signals: bool) -> int:
        pool, description = self._load()
        try:
            return self._work(pool, description, signals)
        finally:
            pool.close()

    def _work(self, pool: Pool, description: AppDescription, signals: bool) -> int:
        settings = description.settings
        log = self._set_up_logging(settings, signals)
        autoscaler = self._make_autoscaler(settings, pool)
        pool_options = self._pool_options(settings, log, pool)
        concurrency = self.options.slots(settings, pool.name, pool.default_concurrency)
        if autoscaler is not None and pool.concurrent_children:
            pool_options = replace(pool_options, processes=autoscaler.min_concurrency)
        elif autoscaler is not None:
            concurrency = autoscaler.min_concurrency
        if signals:
            refuse_root_with_pickle(description.accept)
        self._prepare_broker(description)
        engine = Engine(
            settings["broker_read_url"],
            settings["result_backend"],
            engine_options(self.options, settings, description.accept, description.queue_names),
        )
        self._engine = engine
        if signals and not pool.processes and settings["worker_redirect_stdouts"]:
            logs.redirect_stdouts(settings["worker_redirect_stdouts_level"])
        supervisor = Supervisor(
            engine,
            pool,
            self._inbox,
            settings["worker_shutdown_timeout"],
            settings["worker_soft_shutdown_timeout"],
            RetryLimits.from_settings(settings),
            lambda: self._on_ready(description),
            autoscaler,
            self._mailbox(engine, description).receive if settings["worker_enable_remote_control"] else None,
            TaskSignals(description.signals, pool.send_signal),
            "heartbeat_sent" in description.signals,
        )
        pool.attach(supervisor, pool_options, concurrency)
        if not self.options.quiet:
            self._show(description, pool, concurrency)
        if signals:
            self._inbox.install()
        self._start(engine, description, pool)
        status = self._supervise(supervisor, pool, signals)
        pool.send_signal("worker_shutdown")
        self._restart = supervisor.restart_wanted
        return status

    def _mailbox(self, engine: Engine, description: AppDescription) -> Mailbox:
        return Mailbox(WorkerState(self.hostname, engine, description), description.settings["task_serializer"])

    def _load(self) -> tuple[Pool, AppDescription]:
        """The pool with its app imported."""
        wanted = self.options.pool or (str(self._app.conf.worker_pool) if self._app is not None else None)
        while True:
            pool = self._make_pool(wanted)
            try:
                description = pool.load()
            except BaseException:
                pool.close()
                raise
            # The app's own setting may ask for another pool, which could not be known before it was imported.
            wanted = self.options.pool or description.settings["worker_pool"]
            if pool_class(wanted) is type(pool):
                return pool, description
            pool.close()

    def _make_pool(self, wanted: str | None) -> Pool:
        if self._app is None:
            # A pool of the user's own may be there.
            add_working_directory()
        # Without a path the app exists only here: a fork server is a fork of this program.
        return pool_class(wanted)(AppSource(self._app_path, self._app, self._directory, self.options.load_request))

    def _set_up_logging(self, settings: dict[str, Any], own_process: bool) -> LogOptions:
        options = self.options
        logfile = options.expanded_logfile
        if own_process:
            kept = {name: value for name, value in settings.items() if name.startswith("worker_")}
            logs.setup(Settings(**kept), options.loglevel, logfile, options.color)
        return LogOptions(options.loglevel, logfile, options.color)

    def _pool_options(self, settings: dict[str, Any], log: LogOptions, pool: Pool) -> PoolOptions:
        options = self.options
        if options.processes is not None and not pool.concurrent_children:
            raise ImproperlyConfigured(
                f"The {pool.name} pool takes no number of processes; -c says how many tasks run at once"
            )
        return PoolOptions(
            request=self.options.load_request,
            max_tasks_per_child=options.max_tasks_per_child or settings["worker_max_tasks_per_child"],
            max_memory_per_child=options.max_memory_per_child or settings["worker_max_memory_per_child"],
            processes=options.processes or settings["worker_processes"] or 1,
            log=log,
        )

    def _make_autoscaler(self, settings: dict[str, Any], pool: Pool) -> Autoscaler | None:
        if self.options.autoscale is None:
            return None
        if not pool.processes:
            raise ImproperlyConfigured(f"The {pool.name} pool has no processes that --autoscale could start or end")
        return make_autoscaler(settings["worker_autoscaler"], *self.options.autoscale)

    def _prepare_broker(self, description: AppDescription) -> None:
        """Purges, if that was asked for."""
        if not self.options.purge:
            return
        client = _client(description)
        try:
            count = sum(client.purge(name) for name in description.queue_names)
        finally:
            client.close()
        logger.warning("purge: erased %d messages from the queues", count)

    def _show(self, description: AppDescription, pool: Pool, concurrency: int) -> None:
        settings = description.settings
        lines = banner_lines(
            self.hostname,
            description.name,
            describe_url(settings["broker_read_url"], "none"),
            describe_url(settings["result_backend"], "not stored (set result_backend to keep them)"),
            f"{concurrency} ({pool.describe()})",
            description.queue_names,
            description.task_names,
        )
        show_banner(lines, color=self.options.color)

    def _start(self, engine: Engine, description: AppDescription, pool: Pool) -> None:
        engine.set_tasks(description.tasks)
        engine.want_notices(self.options.loglevel <= logging.INFO or "task_received" in description.signals)
        engine.set_pool_size(pool.size)
        engine.start()

    def _supervise(self, supervisor: Supervisor, pool: Pool, signals: bool) -> int:
        if isinstance(pool, MainThreadPool):
            return _run_beside(supervisor, pool, signals)
        return supervisor.run()

    def _on_ready(self, description: AppDescription) -> None:
        client = _client(description)
        try:
            _bind_queues(client, description)
            _pass_on_advice(client)
        finally:
            client.close()
        logger.info("%s ready.", self.hostname)
        self.ready.set()

    def _restart_program(self) -> None:
        logger.warning("Restarting worker (%s)", " ".join(sys.orig_argv[1:]))
        logging.shutdown()
        os.chdir(self._directory)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _run_beside(supervisor: Supervisor, pool: MainThreadPool, own_process: bool) -> int:
    """The supervisor in a thread of its own, tasks in this one."""
    outcome: list[int] = []
    over = threading.Event()

    def supervise() -> None:
        try:
            outcome.append(supervisor.run())
        except BaseException:
            logger.critical("The supervisor failed", exc_info=True)
            outcome.append(1)
        finally:
            over.set()
            pool.close()
        if own_process and not tasks_over.wait(_AFTER_STOP):
            # A cold stop cannot end the task that runs in the main thread but with the process.
            logging.shutdown()
            os._exit(outcome[0])

    tasks_over = threading.Event()
    thread = threading.Thread(target=supervise, name="MainProcess-supervisor", daemon=True)
    thread.start()
    pool.run_tasks()
    tasks_over.set()
    over.wait()
    thread.join(_JOIN)
    return outcome[0]


def refuse_root_with_pickle(accept: Sequence[str]) -> None:
    """Messages that are pickles can run any code: not as root, unless C_FORCE_ROOT is set.

    Raises:
        ImproperlyConfigured: It is so.
    """
    pickled = [name for name in accept if "python-serialize" in name or "cloudpickle" in name]
    if pickled and hasattr(os, "geteuid") and os.geteuid() == 0 and not os.environ.get("C_FORCE_ROOT"):
        raise ImproperlyConfigured(
            "This worker would run as root and accept pickled messages, with which whoever can write to the broker "
            "can run any code. Use another user (or json only), or set C_FORCE_ROOT=1"
        )


def _bind_queues(client: Client, description: AppDescription) -> None:
    """Leads named exchanges to the queues consumed here; without it what is published to them would be lost."""
    try:
        for queue in description.queues:
            if queue["exchange"]:
                client.bind(queue["name"], queue["exchange"], queue["routing_key"], queue["kind"])
    except NativeError as error:
        logger.warning("Queues could not be bound to their exchanges: %s", error)


def _pass_on_advice(client: Client) -> None:
    """Says what is wrong with the way the broker's server is set up."""
    try:
        for advice in client.advice():
            logger.warning("%s", advice)
    except NativeError as error:
        logger.debug("The broker does not tell how it is set up: %s", error)


def _client(description: AppDescription) -> Client:
    settings = description.settings
    options = {
        "broker_transport_options": settings["broker_transport_options"],
        "result_backend_transport_options": settings["result_backend_transport_options"],
        "publish_timeout": _PATIENCE,
    }
    return Client(settings["broker_write_url"], None, options)


__all__ = ["AppNotFoundError", "Worker"]
