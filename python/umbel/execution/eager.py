"""Runs a task in place, as a worker would: `Task.apply` and `task_always_eager`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from umbel import _current, _native, signals
from umbel.exceptions import Ignore, Reject, Retry
from umbel.execution.failure import ExceptionInfo
from umbel.execution.follow_ups import call_in_place
from umbel.execution.report import log_failure, log_success, logger
from umbel.execution.runner import TaskRunner
from umbel.result import EagerResult
from umbel.task import Context

if TYPE_CHECKING:
    from umbel._interfaces import AppInterface
    from umbel.task import Task

__all__ = ["run_eagerly"]


def run_eagerly(app: AppInterface, task: Task[..., Any], args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
    """The EagerResult of the task. Raises what it raises, with `throw=True` or `task_eager_propagates`."""
    throw = options.get("throw")
    throw = bool(app.conf.task_eager_propagates) if throw is None else throw
    request = _request(task, args or (), kwargs or {}, options)
    token = _current.push_request(request)
    try:
        state, value, info = _run(app, task, request, throw)
    finally:
        _current.pop_request(token)
    if isinstance(value, Retry) and value.sig is not None:
        sig: Any = value.sig
        new_args, new_kwargs, more = sig
        again = {**options, "task_id": request.id, "retries": more["retries"], "throw": throw}
        return run_eagerly(app, task, new_args, new_kwargs, again)
    if throw and state == "FAILURE":
        raise value
    return EagerResult(request.id, value, state, info.traceback if info is not None else None, task.name)


def _request(task: Task[..., Any], args: Any, kwargs: Any, options: dict[str, Any]) -> Context:
    task_id = options.get("task_id") or _native.uuid4()
    parent: Any = _current.current_worker_request()
    return Context(
        {
            "id": task_id,
            "task": task.name,
            "args": args,
            "kwargs": kwargs,
            "root_id": (parent.root_id or parent.id) if parent is not None else task_id,
            "parent_id": parent.id if parent is not None else None,
            "is_eager": True,
            "called_directly": False,
            "retries": options.get("retries") or 0,
            "callbacks": _as_list(options.get("link")),
            "errbacks": _as_list(options.get("link_error")),
            "headers": dict(options.get("headers") or {}) or None,
            "ignore_result": options.get("ignore_result"),
            "shadow": options.get("shadow"),
            "hostname": options.get("hostname"),
            "logfile": options.get("logfile"),
            "loglevel": options.get("loglevel"),
            "stamps": options.get("stamps"),
            "stamped_headers": options.get("stamped_headers"),
            "delivery_info": {
                "is_eager": True,
                "exchange": options.get("exchange"),
                "routing_key": options.get("routing_key"),
                "priority": options.get("priority"),
            },
            "outer": _current.current_request(),
            "task_object": task,
        }
    )


def _as_list(value: Any) -> list[Any] | None:
    if value is None:
        return None
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _run(
    app: AppInterface, task: Task[..., Any], request: Context, throw: bool
) -> tuple[str, Any, ExceptionInfo | None]:
    runner = TaskRunner(task)
    args, kwargs = request.args, request.kwargs
    started = time.monotonic()
    info: ExceptionInfo | None = None
    value: Any = None
    state = "FAILURE"
    signals.task_prerun.send(sender=task, task_id=request.id, task=task, args=args, kwargs=kwargs)
    try:
        try:
            if runner.before_start is not None:
                runner.before_start(request.id, args, kwargs)
            value = _call(runner, request)
            state = "SUCCESS"
        except Exception as error:
            value, info = error, ExceptionInfo(error)
            state = _raised(app, runner, request, error, info)
        else:
            _succeeded(app, runner, request, value, time.monotonic() - started)
        _store(app, task, request, state, value, info)
        if runner.after_return is not None and state in ("SUCCESS", "FAILURE"):
            runner.after_return(state, value, request.id, args, kwargs, info)
    finally:
        signals.task_postrun.send(
            sender=task, task_id=request.id, task=task, args=args, kwargs=kwargs, retval=value, state=state
        )
    return state, value, info


def _call(runner: TaskRunner, request: Context) -> Any:
    if not runner.batches:
        return runner.call(*request.args, **request.kwargs)
    from umbel.execution.batches import run_one  # Few programs have such tasks.

    return run_one(runner, request)


def _succeeded(app: AppInterface, runner: TaskRunner, request: Context, value: Any, runtime: float) -> None:
    _apply_all(app, request.callbacks, (value,), request)
    if runner.on_success is not None:
        runner.on_success(value, request.id, request.args, request.kwargs)
    signals.task_success.send(sender=runner.task, result=value, runtime=runtime)
    if logger.isEnabledFor(20):
        log_success(runner.task, request, value, runtime)


def _raised(app: AppInterface, runner: TaskRunner, request: Context, error: Exception, info: ExceptionInfo) -> str:
    task = runner.task
    if isinstance(error, Retry):
        if runner.on_retry is not None:
            runner.on_retry(error.exc, request.id, request.args, request.kwargs, info)
        signals.task_retry.send(sender=task, request=request, reason=error, einfo=info)
        return "RETRY"
    if isinstance(error, Ignore):
        return "IGNORED"
    if isinstance(error, Reject):
        return "REJECTED"
    if runner.on_failure is not None:
        runner.on_failure(error, request.id, request.args, request.kwargs, info)
    signals.task_failure.send(
        sender=task, task_id=request.id, exception=error, args=request.args, kwargs=request.kwargs,
        traceback=info.tb, einfo=info,
    )  # fmt: skip
    log_failure(task, request, info)
    _call_errbacks(app, request, info)
    return "FAILURE"


def _apply_all(app: AppInterface, signatures: list[Any] | None, args: tuple[Any, ...], request: Context) -> None:
    if not signatures:
        return
    from umbel.canvas import maybe_signature

    for signature in signatures:
        maybe_signature(signature, app=app).apply(args, parent_id=request.id, root_id=request.root_id)


def _call_errbacks(app: AppInterface, request: Context, info: ExceptionInfo) -> None:
    _apply_all(app, call_in_place(app, request, info), (request.id,), request)


def _store(
    app: AppInterface, task: Task[..., Any], request: Context, state: str, value: Any, info: ExceptionInfo | None
) -> None:
    ignored = task.ignore_result if request.ignore_result is None else request.ignore_result
    if state in ("SUCCESS", "FAILURE") and task.store_eager_result and not ignored:
        app.results.store(request.id, state, value, info.traceback if info else None, request, [])
