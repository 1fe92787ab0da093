"""Errors, under Celery's names.

    Exception
    ├── UmbelError (= CeleryError)
    │   ├── ImproperlyConfigured          a setting or URL cannot work
    │   ├── SecurityError
    │   ├── TaskPredicate                 raised by a task to say how it ends
    │   │   ├── Ignore
    │   │   ├── Reject
    │   │   └── Retry
    │   ├── TaskError
    │   │   ├── QueueNotFound (KeyError)
    │   │   ├── IncompleteStream
    │   │   ├── NotRegistered (KeyError)
    │   │   ├── AlreadyRegistered
    │   │   ├── TimeoutError
    │   │   ├── MaxRetriesExceededError
    │   │   ├── TaskRevokedError
    │   │   ├── DuplicateTaskError
    │   │   ├── InvalidTaskError
    │   │   └── ChordError
    ├── BackendError
    │   ├── BackendGetMetaError
    │   └── BackendStoreError
    ├── KombuError                        what kombu calls these in Celery
    │   ├── OperationalError              the broker or result store cannot be reached
    │   ├── SerializationError
    │   │   ├── EncodeError
    │   │   └── DecodeError
    │   └── SerializerNotInstalled
    │       └── ContentDisallowed
    ├── SoftTimeLimitExceeded             raised inside a task
    ├── TimeLimitExceeded
    ├── WorkerLostError
    ├── Terminated
    └── UnpickleableExceptionWrapper      stands for an exception that could not be rebuilt
    UserWarning
    └── UmbelWarning (= CeleryWarning)
        ├── AlwaysEagerIgnored
        ├── DuplicateNodenameWarning
        ├── DuplicateTaskNameWarning
        ├── NotConfigured
        └── SecurityWarning
    SystemExit
    ├── WorkerShutdown
    └── WorkerTerminate

In result records these classes carry the module names they have in a Celery installation (`wire_module`), so that
a Celery client's `except` clauses match; `wire_class` is the way back.
"""

from __future__ import annotations

from datetime import datetime

from umbel import _native

__all__ = [
    "AlreadyRegistered",
    "AlwaysEagerIgnored",
    "BackendError",
    "BackendGetMetaError",
    "BackendStoreError",
    "CDeprecationWarning",
    "CPendingDeprecationWarning",
    "CeleryError",
    "CeleryWarning",
    "ChordError",
    "ContentDisallowed",
    "DecodeError",
    "DuplicateNodenameWarning",
    "DuplicateTaskError",
    "DuplicateTaskNameWarning",
    "EncodeError",
    "FixupWarning",
    "Ignore",
    "ImproperlyConfigured",
    "IncompleteStream",
    "InvalidTaskError",
    "KombuError",
    "MaxRetriesExceededError",
    "NotConfigured",
    "NotRegistered",
    "OperationalError",
    "QueueNotFound",
    "Reject",
    "Retry",
    "SecurityError",
    "SecurityWarning",
    "SerializationError",
    "SerializerNotInstalled",
    "SoftTimeLimitExceeded",
    "TaskError",
    "TaskPredicate",
    "TaskRevokedError",
    "Terminated",
    "TimeLimitExceeded",
    "TimeoutError",
    "UmbelError",
    "UmbelWarning",
    "UnpickleableExceptionWrapper",
    "WorkerLostError",
    "WorkerShutdown",
    "WorkerTerminate",
    "encodable",
    "from_native",
    "missing",
    "safe_repr",
    "safe_str",
    "wire_class",
    "wire_module",
]


class UmbelError(Exception):
    """Base of the library's own errors."""


CeleryError = UmbelError


class UmbelWarning(UserWarning):
    """Base of the library's warnings."""


CeleryWarning = UmbelWarning


class AlwaysEagerIgnored(UmbelWarning):
    """`send_task` publishes even with `task_always_eager`, since it knows only a name."""


class DuplicateNodenameWarning(UmbelWarning):
    """Two workers use one node name."""


class DuplicateTaskNameWarning(UmbelWarning):
    """Two functions were registered under one task name."""


class FixupWarning(UmbelWarning):
    """A framework integration could not be set up."""


class NotConfigured(UmbelWarning):
    """No configuration was found."""


class SecurityWarning(UmbelWarning):
    """A setting weakens security."""


class CPendingDeprecationWarning(PendingDeprecationWarning):
    """Celery's name, for imports."""


class CDeprecationWarning(DeprecationWarning):
    """Celery's name, for imports."""


class ImproperlyConfigured(UmbelError):
    """A setting, URL or option cannot work; the text says which and what to do."""


class SecurityError(UmbelError):
    """Content that must not be trusted, such as a record that names a class which is no exception."""


class TaskPredicate(UmbelError):
    """Base of what a task raises to say how it ends."""


class Retry(TaskPredicate):
    """The task is to run again; raised by `Task.retry`.

    `exc` is the exception that caused it (or its repr, when `message` came off the wire), `when` seconds or the
    moment of the next run.
    """

    def __init__(
        self,
        message: str | None = None,
        exc: BaseException | str | None = None,
        when: float | datetime | None = None,
        is_eager: bool = False,
        sig: object = None,
        **kwargs: object,
    ) -> None:
        self.message = message
        self.exc: BaseException | None
        self.excs: str | None
        if isinstance(exc, str):
            self.exc, self.excs = None, exc
        else:
            self.exc, self.excs = exc, (safe_repr(exc) if exc is not None else None)
        self.when = when
        self.is_eager = is_eager
        self.sig = sig
        super().__init__(self, exc, when, **kwargs)

    def humanize(self) -> str:
        """When: "in 3s" or "at 2030-01-01 00:00:00"."""
        if isinstance(self.when, (int, float)):
            return f"in {self.when}s"
        return f"at {self.when}"

    def __str__(self) -> str:
        if self.message:
            return self.message
        if self.excs:
            return f"Retry {self.humanize()}: {self.excs}"
        return f"Retry {self.humanize()}"

    def __repr__(self) -> str:
        return f"Retry({self!s})"

    def __reduce__(self) -> tuple[type[Retry], tuple[str | None, str | None, object]]:
        return self.__class__, (self.message, self.excs, self.when)


class Ignore(TaskPredicate):
    """The task ends without a result being stored."""


class Reject(TaskPredicate):
    """The message goes back to its queue (`requeue`), or to the dead letters with `reason`."""

    def __init__(self, reason: object = None, requeue: bool = False) -> None:
        self.reason = reason
        self.requeue = requeue
        super().__init__(reason, requeue)

    def __repr__(self) -> str:
        return f"reject requeue={self.requeue}: {self.reason}"


class TaskError(UmbelError):
    """Base of errors about tasks."""


class QueueNotFound(KeyError, TaskError):
    """A route names a queue that `task_queues` lacks, and `task_create_missing_queues` is off."""


class IncompleteStream(TaskError):
    """A compressed body ended early."""


class NotRegistered(KeyError, TaskError):
    """No task of that name is registered here."""

    def __repr__(self) -> str:
        return f"Task {self!s} is not registered; is the module that defines it imported or in `imports`?"


class AlreadyRegistered(TaskError):
    """The name is taken by another task."""


class TimeoutError(TaskError):
    """The result did not arrive in time. (Not the built-in of the same name, as in Celery.)"""


class MaxRetriesExceededError(TaskError):
    """The task used up `max_retries`."""

    def __init__(self, *args: object, task_args: object = (), task_kwargs: object = None) -> None:
        self.task_args = task_args
        self.task_kwargs = {} if task_kwargs is None else task_kwargs
        super().__init__(*args)


class TaskRevokedError(TaskError):
    """The task was revoked or has expired, so there is no result."""


class DuplicateTaskError(TaskError):
    """A unique task that is the same was sent before and has not ended; not in Celery."""

    def __init__(self, task: str = "", task_id: str = "") -> None:
        super().__init__(task, task_id)
        self.task = task
        #: Of the one that was sent before.
        self.task_id = task_id

    def __str__(self) -> str:
        return f"Task {self.task} is unique, and {self.task_id} is the same and has not ended"


class InvalidTaskError(TaskError):
    """The message lacks what a task needs."""


class ChordError(TaskError):
    """A part of a chord failed."""


class BackendError(Exception):
    """Base of result store errors."""


class BackendGetMetaError(BackendError):
    """A record could not be read."""

    def __init__(self, *args: object, task_id: str = "") -> None:
        self.task_id = task_id
        super().__init__(*args)

    def __str__(self) -> str:
        return f"{super().__str__()} task_id:{self.task_id}"


class BackendStoreError(BackendError):
    """A record could not be written."""

    def __init__(self, *args: object, state: str = "", task_id: str = "") -> None:
        self.state = state
        self.task_id = task_id
        super().__init__(*args)

    def __str__(self) -> str:
        return f"{super().__str__()} state:{self.state} task_id:{self.task_id}"


class KombuError(Exception):
    """Base of errors about transport and serialization, as kombu is in Celery."""


class OperationalError(KombuError):
    """The broker or result store cannot be reached, or refused the operation."""


class SerializationError(KombuError):
    """Base of errors about content."""


class EncodeError(SerializationError):
    """A value cannot be written by the serializer in use."""


class DecodeError(SerializationError):
    """A body or record cannot be read."""


class SerializerNotInstalled(KombuError):
    """No such serializer, or the package it needs is missing."""


class ContentDisallowed(SerializerNotInstalled):
    """The content type is not in `accept_content`."""


class SoftTimeLimitExceeded(Exception):
    """Raised inside a task when its soft time limit passes, so that it can clean up."""

    def __str__(self) -> str:
        return f"SoftTimeLimitExceeded{self.args}"


class TimeLimitExceeded(Exception):
    """The hard time limit passed and the child was killed."""

    def __str__(self) -> str:
        return f"TimeLimitExceeded{self.args}"


class WorkerLostError(Exception):
    """The process that ran the task was lost."""


class Terminated(Exception):
    """The process that ran the task was told to end."""


class WorkerTerminate(SystemExit):
    """Raised in a worker to stop it at once."""


class WorkerShutdown(SystemExit):
    """Raised in a worker to stop it after its running tasks."""


class UnpickleableExceptionWrapper(Exception):
    """Stands for an exception that could not be rebuilt from its arguments.

    Holds the module and name of its class, its arguments made safe, and its text.
    """

    def __init__(self, exc_module: str, exc_cls_name: str, exc_args: object, text: str | None = None) -> None:
        self.exc_module = exc_module
        self.exc_cls_name = exc_cls_name
        self.exc_args = exc_args
        self.text = text
        super().__init__(exc_module, exc_cls_name, exc_args, text)

    def __str__(self) -> str:
        return self.text if self.text is not None else f"{self.exc_cls_name}({self.exc_args!r})"


def safe_repr(value: object) -> str:
    """repr that cannot fail, whatever the value's own raises, and that can be written as UTF-8."""
    try:
        return encodable(repr(value))
    except BaseException as error:
        return f"<{type(value).__name__} whose repr raised {type(error).__name__}>"


def safe_str(value: object) -> str:
    """str that cannot fail, likewise."""
    try:
        return encodable(str(value))
    except BaseException as error:
        return f"<{type(value).__name__} whose str raised {type(error).__name__}>"


def encodable(text: str) -> str:
    """The text itself, or with lone surrogates escaped, which no encoding takes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


_KOMBU = (
    KombuError,
    OperationalError,
    SerializationError,
    EncodeError,
    DecodeError,
    SerializerNotInstalled,
    ContentDisallowed,
)
_BILLIARD = (SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError, Terminated)
_WRAPPER_MODULE = "celery.utils.serialization"


def _wire_modules() -> dict[type[BaseException], str]:
    modules: dict[type[BaseException], str] = {}
    for value in list(globals().values()):
        if isinstance(value, type) and issubclass(value, BaseException) and value.__module__ == __name__:
            modules[value] = "celery.exceptions"
    modules.update(dict.fromkeys(_KOMBU, "kombu.exceptions"))
    modules.update(dict.fromkeys(_BILLIARD, "billiard.exceptions"))
    modules[UnpickleableExceptionWrapper] = _WRAPPER_MODULE
    return modules


_MODULE_OF = _wire_modules()
_CLASS_OF: dict[tuple[str, str], type[BaseException]] = {
    ("celery.exceptions", "CeleryError"): UmbelError,
    ("celery.exceptions", "CeleryWarning"): UmbelWarning,
}
_CLASS_OF.update({(module, cls.__name__): cls for cls, module in _MODULE_OF.items()})
# Celery imports these into its own module, where its users find them.
_CLASS_OF.update({("celery.exceptions", cls.__name__): cls for cls in (*_BILLIARD, OperationalError)})


def wire_module(cls: type[BaseException]) -> str:
    """The module name a record carries for an exception class: Celery's for ours, its own for any other."""
    return _MODULE_OF.get(cls) or cls.__module__


def wire_class(module: str, name: str) -> type[BaseException] | None:
    """Our class for a module and class name of Celery, billiard or kombu; None for classes that are not theirs."""
    return _CLASS_OF.get((module, name))


def missing(what: str, package: str, extra: str) -> ImproperlyConfigured:
    """The error for a package that is not installed."""
    return ImproperlyConfigured(f"{what} needs the package {package!r}: pip install 'umbel[{extra}]'")


def from_native(error: Exception) -> Exception:
    """The public error for one raised by the extension; anything else comes back unchanged."""
    if isinstance(error, _native.ConfigError):
        return ImproperlyConfigured(str(error))
    if isinstance(error, _native.MalformedError):
        return DecodeError(str(error))
    if isinstance(error, _native.NativeError):
        return OperationalError(str(error))
    return error
