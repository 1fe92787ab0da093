"""The line in the log that says how a task ended, as Celery writes it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from umbel.exceptions import safe_repr, safe_str
from umbel.execution.failure import ExceptionInfo

if TYPE_CHECKING:
    from umbel.task import Context, Task

__all__ = ["log_failure", "log_ignored", "log_rejected", "log_retry", "log_success", "logger"]

logger = logging.getLogger("umbel.execution")

_SUCCESS = "Task %(name)s[%(id)s] succeeded in %(runtime)ss: %(return_value)s"
_FAILURE = "Task %(name)s[%(id)s] %(description)s: %(exc)s"
_IGNORED = "Task %(name)s[%(id)s] ignored"
_REJECTED = "Task %(name)s[%(id)s] %(exc)s"
_RETRY = "Task %(name)s[%(id)s] retry: %(exc)s"


def log_success(task: Task[..., Any], request: Context, value: Any, runtime: float) -> None:
    """At INFO. The caller has looked whether anybody listens."""
    data = {
        **_about(task, request),
        "return_value": _shortened(value, task.resultrepr_maxsize),
        "runtime": runtime,
        "args": request.argsrepr or _shortened(request.args, 1024),
        "kwargs": request.kwargsrepr or _shortened(request.kwargs, 1024),
    }
    logger.info(_SUCCESS, data, extra={"data": data})


def log_failure(task: Task[..., Any], request: Context, info: ExceptionInfo) -> None:
    """At ERROR with traceback, or at INFO without if the task expects it (`throws`)."""
    expected = bool(task.throws) and isinstance(info.exception, task.throws)
    level = logging.INFO if expected else logging.ERROR
    if not logger.isEnabledFor(level):
        return
    data = {
        **_about(task, request),
        "exc": safe_repr(info.exception),
        "traceback": info.traceback,
        "args": request.argsrepr or _shortened(request.args, 1024),
        "kwargs": request.kwargsrepr or _shortened(request.kwargs, 1024),
        "description": "raised expected" if expected else "raised unexpected",
        "internal": info.internal,
    }
    logger.log(level, _FAILURE, data, exc_info=None if expected else info.exc_info, extra={"data": data})


def log_retry(task: Task[..., Any], request: Context, reason: BaseException) -> None:
    """At INFO."""
    data = {**_about(task, request), "exc": safe_str(reason)}
    logger.info(_RETRY, data, extra={"data": data})


def log_ignored(task: Task[..., Any], request: Context) -> None:
    """At INFO."""
    data = _about(task, request)
    logger.info(_IGNORED, data, extra={"data": data})


def log_rejected(task: Task[..., Any], request: Context, error: BaseException) -> None:
    """At WARNING."""
    data = {**_about(task, request), "exc": safe_repr(error)}
    logger.warning(_REJECTED, data, extra={"data": data})


def _about(task: Task[..., Any], request: Context) -> dict[str, Any]:
    return {"id": request.id, "name": request.shadow or task.name, "hostname": request.hostname}


def _shortened(value: Any, limit: int) -> str:
    text = safe_repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
