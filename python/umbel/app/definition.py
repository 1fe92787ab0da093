"""Makes task classes of functions."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from umbel.app.annotations import annotate
from umbel.app.registry import task_name
from umbel.exceptions import DuplicateTaskNameWarning
from umbel.task import Task
from umbel.task.retry import wrap_for_retries

if TYPE_CHECKING:
    from umbel.app.app import Umbel
    from umbel.task.models import ModelKind, ModelWrapper

__all__ = ["adopt_task", "define_task"]

#: Decorator options that are about the decorator.
_FOR_CELERY = ("shared", "lazy", "filter")


def define_task(app: Umbel, function: Callable[..., Any], options: dict[str, Any], base: Any) -> Task[..., Any]:
    """The task of a function, registered; the one that is there already if the name is taken."""
    options = {name: value for name, value in options.items() if name not in _FOR_CELERY and value is not None}
    name: str = options.pop("name", None) or app.gen_task_name(function.__name__, function.__module__)
    base = options.pop("base", None) or base
    bind = bool(options.pop("bind", False))
    existing = app.registry.get(name)
    if existing is not None:
        _warn_if_another(existing, function, name)
        return existing
    original, models = function, _models_of(app, function, name, bind, options)
    if models is not None:
        function = models.wrap()
    attributes: dict[str, Any] = {
        "_app": app,
        "name": name,
        "run": function if bind else staticmethod(function),
        "abstract": False,
        "__doc__": function.__doc__,
        "__module__": function.__module__,
        "__qualname__": getattr(function, "__qualname__", function.__name__),
        "__wrapped__": original if bind else staticmethod(original),
        "_models": models,
        "__header__": None,
        **options,
    }
    task: Task[..., Any] = type(function.__name__, (base,), attributes)()
    task.__dict__["__name__"] = function.__name__
    task.__dict__["__qualname__"] = attributes["__qualname__"]
    return adopt_task(app, task)


def _models_of(
    app: Umbel, function: Callable[..., Any], name: str, bind: bool, options: dict[str, Any]
) -> ModelWrapper | None:
    """What converts models, if `pydantic=True` or `dataclasses=True` ask for it; takes those options away."""
    pydantic, dataclasses = bool(options.pop("pydantic", False)), bool(options.pop("dataclasses", False))
    more = {key: options.pop(f"pydantic_{key}", None) for key in ("strict", "context", "dump_kwargs")}
    if not (pydantic or dataclasses):
        return None
    from umbel.task.models import DataclassKind, ModelWrapper, PydanticKind

    kinds: list[ModelKind] = []
    if pydantic:
        kinds.append(PydanticKind(app, name, **{key: value for key, value in more.items() if value is not None}))
    if dataclasses:
        kinds.append(DataclassKind())
    return ModelWrapper(function, bind, kinds)


def adopt_task(app: Umbel, task: Task[..., Any]) -> Task[..., Any]:
    """Registers a task object, naming it after its class if it has no name."""
    if not task.name:
        task.name = task_name(app.main, type(task).__name__, type(task).__module__)
    type(task)._app = app
    task.prepare()
    wrap_for_retries(task)
    app.registry.register(task)
    task.bind(app)
    if app.finalized:
        annotate([task], app.conf.task_annotations)
    return task


def _warn_if_another(existing: Task[..., Any], function: Callable[..., Any], name: str) -> None:
    wrapped: Any = getattr(type(existing), "__wrapped__", None)
    if wrapped is function or _place(wrapped) == _place(function):
        return
    warnings.warn(
        f"Task name {name!r} is taken by {_place(wrapped)}; {_place(function)} is not registered. "
        "Give one of them another name with name=...",
        DuplicateTaskNameWarning,
        stacklevel=4,
    )


def _place(function: Any) -> str:
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', function)}"
