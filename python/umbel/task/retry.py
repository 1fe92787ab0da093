"""Retrying: how long to wait, with which arguments, and what `autoretry_for` does."""

from __future__ import annotations

import functools
import inspect
import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from umbel.exceptions import Ignore, Reject, Retry

if TYPE_CHECKING:
    from umbel.task.task import Task

__all__ = ["autoretry", "backoff_interval", "merged_arguments", "wrap_for_retries"]


def backoff_interval(factor: float, retries: int, maximum: float, full_jitter: bool) -> float:
    """Seconds before the next try: `factor * 2**retries` up to `maximum`, or anything below that with jitter."""
    # Beyond 2**64 the maximum has long been reached; the power itself would only grow in memory.
    countdown = min(maximum, factor * float(2 ** min(retries, 64)))
    if full_jitter:
        countdown = random.randrange(int(countdown) + 1)
    return max(0, countdown)


def wrap_for_retries(task: Task[..., Any]) -> None:
    """Wraps `task.run` so that exceptions of `autoretry_for` retry the task."""
    wanted: tuple[type[BaseException], ...] = tuple(task.autoretry_for or ())
    # The calls of a batch are retried one by one: `autoretry`.
    if wanted and task.flush_every is None:
        task.__dict__["run"] = _with_retries(task, wanted)


def _with_retries(task: Task[..., Any], wanted: tuple[type[BaseException], ...]) -> Callable[..., Any]:
    run = task.run
    final = _final(task)

    if inspect.iscoroutinefunction(run):

        @functools.wraps(run)
        async def run_with_retries_async(*args: Any, **kwargs: Any) -> Any:
            try:
                return await run(*args, **kwargs)
            except final:
                raise
            except wanted as error:
                raise _retry(task, error) from error

        return run_with_retries_async

    @functools.wraps(run)
    def run_with_retries(*args: Any, **kwargs: Any) -> Any:
        try:
            return run(*args, **kwargs)
        except final:
            raise
        except wanted as error:
            raise _retry(task, error) from error

    return run_with_retries


def _final(task: Task[..., Any]) -> tuple[type[BaseException], ...]:
    return (Ignore, Reject, Retry, *(task.dont_autoretry_for or ()))


def autoretry(task: Task[..., Any], error: BaseException) -> None:
    """Raises Retry if `autoretry_for` says that a call that failed with `error` is to be tried again, for the request
    that runs; `error` itself if that was its last try."""
    if isinstance(error, tuple(task.autoretry_for or ())) and not isinstance(error, _final(task)):
        raise _retry(task, error)


def _retry(task: Task[..., Any], error: BaseException) -> BaseException:
    options: dict[str, Any] = dict(task.retry_kwargs or {})
    factor = float(task.retry_backoff)
    if factor:
        options["countdown"] = backoff_interval(
            max(1.0, factor), task.request.retries, task.retry_backoff_max, bool(task.retry_jitter)
        )
    return task.retry(exc=error, **options)


def merged_arguments(
    run: Callable[..., Any], request: Any, args: Any, kwargs: Mapping[str, Any] | None
) -> tuple[Any, Any]:
    """Arguments of a retry that replaces only positional or only keyword arguments.

    What is kept of the request must not collide with what replaces it: a parameter given both ways is given once, by
    the newer value.
    """
    if args is None and kwargs is None:
        return request.args, request.kwargs
    if args is not None and kwargs is not None:
        return args, kwargs
    try:
        signature = inspect.signature(run)
    except (TypeError, ValueError):
        return (request.args if args is None else args), (request.kwargs if kwargs is None else kwargs)
    if args is not None:
        return args, _without(request.kwargs or {}, signature, len(args))
    return _replace_by_name(signature, request.args or (), dict(kwargs or {}))


def _without(kwargs: Mapping[str, Any], signature: inspect.Signature, count: int) -> dict[str, Any]:
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    taken = [name for name, parameter in signature.parameters.items() if parameter.kind in positional][:count]
    return {name: value for name, value in kwargs.items() if name not in taken}


def _replace_by_name(signature: inspect.Signature, args: Any, kwargs: dict[str, Any]) -> tuple[Any, Any]:
    try:
        bound = signature.bind_partial(*args)
    except TypeError:
        return args, kwargs
    for name in list(kwargs):
        parameter = signature.parameters.get(name)
        if name in bound.arguments and parameter is not None and parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            bound.arguments[name] = kwargs.pop(name)
    return bound.args, {**bound.kwargs, **kwargs}
