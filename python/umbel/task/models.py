"""Models as arguments and results: pydantic's, and dataclasses.

A message holds plain values. Whoever sends a task turns models into them; the worker makes models again of what the
function's annotations say is one, and plain values of a model that the function returns.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from umbel.exceptions import ImproperlyConfigured

__all__ = ["DataclassKind", "ModelKind", "ModelWrapper", "PydanticKind"]


class ModelKind(typing.Protocol):
    """One kind of model."""

    def is_model(self, annotation: Any) -> bool:
        """Whether an annotation names one."""
        ...

    def is_instance(self, value: Any) -> bool:
        """Whether a value is one."""
        ...

    def dump(self, value: Any) -> Any:
        """Plain values of it."""
        ...

    def load(self, annotation: Any, value: Any) -> Any:
        """A model made of plain values; one that is a model already stays."""
        ...


@dataclass
class PydanticKind:
    """Pydantic's models, with Celery's options: `pydantic_strict`, `pydantic_context`, `pydantic_dump_kwargs`."""

    app: Any
    task_name: str
    strict: bool = False
    context: Mapping[str, Any] = field(default_factory=dict)
    dump_kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            from pydantic import BaseModel
        except ImportError as error:
            raise ImproperlyConfigured(
                f"Task {self.task_name}: pydantic=True needs the package: pip install 'umbel[pydantic]'"
            ) from error
        self._base: Any = BaseModel

    def is_model(self, annotation: Any) -> bool:
        return inspect.isclass(annotation) and issubclass(annotation, self._base)

    def is_instance(self, value: Any) -> bool:
        return isinstance(value, self._base)

    def dump(self, value: Any) -> Any:
        return value.model_dump(**{"mode": "json", **self.dump_kwargs})

    def load(self, annotation: Any, value: Any) -> Any:
        context = {**self.context, "celery_app": self.app, "celery_task_name": self.task_name}
        return annotation.model_validate(value, strict=self.strict, context=context)


class DataclassKind:
    """Dataclasses; fields may be dataclasses, optional ones, and lists, tuples and dicts of them."""

    def is_model(self, annotation: Any) -> bool:
        return inspect.isclass(annotation) and dataclasses.is_dataclass(annotation)

    def is_instance(self, value: Any) -> bool:
        return dataclasses.is_dataclass(value) and not isinstance(value, type)

    def dump(self, value: Any) -> Any:
        return dataclasses.asdict(value)

    def load(self, annotation: Any, value: Any) -> Any:
        """Raises TypeError for a field that is missing or unknown."""
        annotation = optional_of(annotation)
        if self.is_model(annotation):
            return self._load_fields(annotation, value) if isinstance(value, Mapping) else value
        origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
        if origin is list and inner and isinstance(value, (list, tuple)):
            return [self.load(inner[0], each) for each in value]
        if origin is tuple and inner and isinstance(value, (list, tuple)):
            kinds = [inner[0]] * len(value) if inner[-1] is ... else inner
            return tuple(self.load(kind, each) for kind, each in zip(kinds, value, strict=False))
        if origin is dict and len(inner) == 2 and isinstance(value, Mapping):
            return {key: self.load(inner[1], each) for key, each in value.items()}
        return value

    def _load_fields(self, model: Any, values: Mapping[str, Any]) -> Any:
        hints = typing.get_type_hints(model)
        given = {each.name: each for each in dataclasses.fields(model) if each.name in values}
        unknown = set(values) - set(given)
        if unknown:
            raise TypeError(f"{model.__name__} has no field {', '.join(sorted(map(str, unknown)))}")
        made = {name: self.load(hints.get(name), values[name]) for name, each in given.items() if each.init}
        return model(**made)


class ModelWrapper:
    """Both ends of one task's arguments.

    Args:
        function: The task's own.
        bound: Its first parameter is the task itself.
        kinds: Of models that are converted; the first that fits counts.
    """

    def __init__(self, function: Callable[..., Any], bound: bool, kinds: typing.Sequence[ModelKind]) -> None:
        self._function = function
        self._bound = bound
        self._kinds = kinds
        self._signature = inspect.signature(function)

    @functools.cached_property
    def _models(self) -> dict[str, tuple[ModelKind, Any]]:
        """Kind and annotation of parameters that are models, and of the result as `return`.

        Worked out at the first call: annotations may name what is defined below the task.
        """
        try:
            hints: Mapping[str, Any] = typing.get_type_hints(self._function)
        except (NameError, AttributeError, TypeError):
            hints = {name: each.annotation for name, each in self._signature.parameters.items()}
        found = {}
        for name, hint in hints.items():
            annotation = optional_of(hint)
            kind = next((kind for kind in self._kinds if _mentions(kind, annotation)), None)
            if kind is not None:
                found[name] = (kind, annotation)
        return found

    def wrap(self) -> Callable[..., Any]:
        """The function as the worker runs it: from plain values to plain values."""
        if inspect.iscoroutinefunction(self._function):

            @functools.wraps(self._function)
            async def run_coroutine(*args: Any, **kwargs: Any) -> Any:
                bound = self._load(args, kwargs)
                return self._dump_result(await self._function(*bound.args, **bound.kwargs))

            return run_coroutine

        @functools.wraps(self._function)
        def run(*args: Any, **kwargs: Any) -> Any:
            bound = self._load(args, kwargs)
            return self._dump_result(self._function(*bound.args, **bound.kwargs))

        return run

    def dump(self, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """A call's arguments with plain values in place of models."""
        args, kwargs = args or (), kwargs or {}
        return [self._dump_value(value) for value in args], {
            name: self._dump_value(value) for name, value in kwargs.items()
        }

    def _dump_value(self, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [self._dump_value(each) for each in value]
        if isinstance(value, dict):
            return {key: self._dump_value(each) for key, each in value.items()}
        kind = next((kind for kind in self._kinds if kind.is_instance(value)), None)
        return value if kind is None else kind.dump(value)

    def _load(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> inspect.BoundArguments:
        bound = self._signature.bind(*args, **kwargs)
        for name, value in bound.arguments.items():
            model = self._models.get(name)
            if model is not None and value is not None:
                kind, annotation = model
                bound.arguments[name] = kind.load(annotation, value)
        return bound

    def _dump_result(self, value: Any) -> Any:
        return self._dump_value(value) if "return" in self._models else value


def optional_of(annotation: Any) -> Any:
    """`X` for `Optional[X]` and `X | None`; the annotation itself otherwise."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        inner = [each for each in typing.get_args(annotation) if each is not type(None)]
        if len(inner) == 1:
            return inner[0]
    return annotation


def _mentions(kind: ModelKind, annotation: Any) -> bool:
    if kind.is_model(annotation):
        return True
    containers = isinstance(kind, DataclassKind) and typing.get_origin(annotation) in (list, tuple, dict)
    return containers and any(_mentions(kind, optional_of(each)) for each in typing.get_args(annotation))
