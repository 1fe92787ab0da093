"""`@shared_task`: tasks of libraries, which every application gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, cast, overload

from umbel import _current
from umbel._current import Proxy
from umbel.app.app import Umbel
from umbel.task import Task

__all__ = ["shared_task"]

P = ParamSpec("P")
R = TypeVar("R")


@overload
def shared_task(fun: Callable[P, R], /) -> Task[P, R]: ...
@overload
def shared_task(*, bind: Literal[True], **options: Any) -> Callable[[Callable[Concatenate[Any, P], R]], Task[P, R]]: ...
@overload
def shared_task(*, bind: Literal[False] = ..., **options: Any) -> Callable[[Callable[P, R]], Task[P, R]]: ...
def shared_task(fun: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """`app.task` for code that does not know its application: the task is that of whichever is current."""

    def define(function: Callable[..., Any]) -> Any:
        def construct(app: Umbel) -> Task[..., Any]:
            define_in: Any = app.task
            return cast("Task[..., Any]", define_in(**options)(function))

        _current.share(construct)

        def find() -> Task[..., Any]:
            app = cast(Umbel, _current.current_app())
            return app.tasks[options.get("name") or app.gen_task_name(function.__name__, function.__module__)]

        return Proxy(find)

    return define if fun is None else define(fun)
