"""Signals: functions an application connects to be told what happens.

Receivers are called in the process and thread where the thing happens, in the order they were connected, with
`sender` and `signal` and the signal's own arguments as keywords. An exception in a receiver is logged and goes no
further.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from types import MethodType
from typing import Any, NamedTuple, TypeVar, overload

__all__ = [
    "Signal",
    "after_setup_logger",
    "after_setup_task_logger",
    "after_task_publish",
    "beat_embedded_init",
    "beat_init",
    "before_task_publish",
    "celeryd_after_setup",
    "celeryd_init",
    "eventlet_pool_apply",
    "eventlet_pool_postshutdown",
    "eventlet_pool_preshutdown",
    "eventlet_pool_started",
    "heartbeat_sent",
    "import_modules",
    "setup_logging",
    "task_failure",
    "task_internal_error",
    "task_postrun",
    "task_prerun",
    "task_received",
    "task_rejected",
    "task_retry",
    "task_revoked",
    "task_sent",
    "task_success",
    "task_unknown",
    "user_preload_options",
    "worker_before_create_process",
    "worker_init",
    "worker_process_init",
    "worker_process_shutdown",
    "worker_ready",
    "worker_shutdown",
    "worker_shutting_down",
]

Receiver = Callable[..., Any]
F = TypeVar("F", bound=Receiver)

_logger = logging.getLogger(__name__)


class _Connection(NamedTuple):
    key: object
    sender: Any
    reference: Callable[[], Receiver | None]


class Signal:
    """One signal. `receivers` is empty while nothing is connected: callers on hot paths look before they send."""

    def __init__(self, name: str, providing_args: frozenset[str] = frozenset()) -> None:
        self.name = name
        self.providing_args = providing_args
        self.receivers: tuple[_Connection, ...] = ()
        self._lock = threading.Lock()

    @overload
    def connect(self, fun: F, /, sender: Any = ..., weak: bool = ..., dispatch_uid: object = ...) -> F: ...
    @overload
    def connect(
        self, *, sender: Any = ..., weak: bool = ..., dispatch_uid: object = ..., retry: bool = ...
    ) -> Callable[[F], F]: ...
    def connect(
        self,
        fun: Receiver | None = None,
        sender: Any = None,
        weak: bool = True,
        dispatch_uid: object = None,
        retry: bool = False,
    ) -> Any:
        """Connects `fun`, directly or as a decorator.

        `sender` limits it to one sender (a task, a task's name for the publish signals, a node name). `weak`
        references do not keep the receiver alive. A second connection with the same `dispatch_uid`, or of the same
        function and sender, is ignored. `retry` is accepted for Celery's sake.
        """

        def connect(receiver: F) -> F:
            self._add(receiver, sender, weak, dispatch_uid)
            return receiver

        return connect(fun) if fun is not None else connect

    def _add(self, receiver: Receiver, sender: Any, weak: bool, dispatch_uid: object) -> None:
        key = _key(receiver, sender, dispatch_uid)
        reference = self._reference(receiver) if weak else lambda: receiver
        with self._lock:
            if all(connection.key != key for connection in self._alive()):
                self.receivers = (*self._alive(), _Connection(key, sender, reference))

    def _reference(self, receiver: Receiver) -> Callable[[], Receiver | None]:
        kind = weakref.WeakMethod if isinstance(receiver, MethodType) else weakref.ref
        return kind(receiver, self._forget)

    def _forget(self, _reference: object) -> None:
        # May run inside the garbage collector while this thread holds the lock, so it does not take it: replacing the
        # tuple is atomic, and one dead entry too many is skipped when sending.
        self.receivers = self._alive()

    def _alive(self) -> tuple[_Connection, ...]:
        return tuple(connection for connection in self.receivers if connection.reference() is not None)

    def disconnect(
        self,
        receiver: Receiver | None = None,
        sender: Any = None,
        weak: bool | None = None,
        dispatch_uid: object = None,
    ) -> bool:
        """Undoes `connect` with the same arguments; True if there was something to undo."""
        key = _key(receiver, sender, dispatch_uid)
        with self._lock:
            left = tuple(connection for connection in self.receivers if connection.key != key)
            removed = len(left) != len(self.receivers)
            self.receivers = left
        return removed

    def has_listeners(self, sender: Any = None) -> bool:
        """True if a `send` for this sender would call anything."""
        return any(_wants(connection.sender, sender) for connection in self._alive())

    def send(self, sender: Any, **named: Any) -> list[tuple[Receiver, Any]]:
        """Calls the receivers; returns each with its return value, or with the exception it raised."""
        responses: list[tuple[Receiver, Any]] = []
        for connection in self.receivers:
            if not _wants(connection.sender, sender):
                continue
            receiver = connection.reference()
            if receiver is None:
                continue
            try:
                response: Any = receiver(signal=self, sender=sender, **named)
            except Exception as error:
                _logger.exception("Signal handler %r raised: %r", receiver, error)
                response = error
            responses.append((receiver, response))
        return responses

    send_robust = send

    def __repr__(self) -> str:
        return f"<Signal: {self.name}>"


def _key(receiver: Receiver | None, sender: Any, dispatch_uid: object) -> object:
    what: object
    if dispatch_uid is not None:
        what = dispatch_uid
    elif isinstance(receiver, MethodType):
        what = (id(receiver.__self__), id(receiver.__func__))
    else:
        what = id(receiver)
    return (what, sender if isinstance(sender, str) else id(sender))


def _wants(wanted: Any, sender: Any) -> bool:
    if wanted is None or wanted is sender:
        return True
    # A shared task is a proxy; it equals the task it stands for.
    return bool(wanted == sender)


def _signal(name: str, *args: str) -> Signal:
    return Signal(name, frozenset(args))


# --- tasks
before_task_publish = _signal(
    "before_task_publish", "body", "exchange", "routing_key", "headers", "properties", "declare", "retry_policy"
)
after_task_publish = _signal("after_task_publish", "body", "exchange", "routing_key", "headers")
task_sent = _signal("task_sent", "task_id", "task", "args", "kwargs", "eta", "taskset")
task_received = _signal("task_received", "request")
task_prerun = _signal("task_prerun", "task_id", "task", "args", "kwargs")
task_postrun = _signal("task_postrun", "task_id", "task", "args", "kwargs", "retval", "state")
task_success = _signal("task_success", "result", "runtime")
task_retry = _signal("task_retry", "request", "reason", "einfo")
task_failure = _signal("task_failure", "task_id", "exception", "args", "kwargs", "traceback", "einfo")
task_internal_error = _signal(
    "task_internal_error", "task_id", "args", "kwargs", "request", "exception", "traceback", "einfo"
)
task_revoked = _signal("task_revoked", "request", "terminated", "signum", "expired")
task_rejected = _signal("task_rejected", "message", "exc")
task_unknown = _signal("task_unknown", "message", "exc", "name", "id")

# --- worker
celeryd_init = _signal("celeryd_init", "instance", "conf", "options")
celeryd_after_setup = _signal("celeryd_after_setup", "instance", "conf")
import_modules = _signal("import_modules")
worker_init = _signal("worker_init")
worker_before_create_process = _signal("worker_before_create_process")
worker_process_init = _signal("worker_process_init")
worker_process_shutdown = _signal("worker_process_shutdown", "pid", "exitcode")
worker_ready = _signal("worker_ready")
worker_shutting_down = _signal("worker_shutting_down", "sig", "how", "exitcode")
worker_shutdown = _signal("worker_shutdown")
heartbeat_sent = _signal("heartbeat_sent")

# --- logging
setup_logging = _signal("setup_logging", "loglevel", "logfile", "format", "colorize")
after_setup_logger = _signal("after_setup_logger", "logger", "loglevel", "logfile", "format", "colorize")
after_setup_task_logger = _signal("after_setup_task_logger", "logger", "loglevel", "logfile", "format", "colorize")

# --- beat
beat_init = _signal("beat_init")
beat_embedded_init = _signal("beat_embedded_init")

# --- eventlet pool
eventlet_pool_started = _signal("eventlet_pool_started")
eventlet_pool_preshutdown = _signal("eventlet_pool_preshutdown")
eventlet_pool_postshutdown = _signal("eventlet_pool_postshutdown")
eventlet_pool_apply = _signal("eventlet_pool_apply", "target", "args", "kwargs")

# --- command line
user_preload_options = _signal("user_preload_options", "app", "options")
