"""Keys made of a call's arguments: which calls of a task are alike (`unique_key`, `concurrency_key`)."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from umbel.task import Task

__all__ = ["CallKey"]


@dataclass(frozen=True)
class CallKey:
    """What one task's option `name` says."""

    task: Task[..., Any]
    name: str
    #: Names of parameters, or a function of the arguments; None: all arguments.
    chosen: Sequence[str] | Callable[..., Any] | None

    @classmethod
    def of(cls, task: Task[..., Any], name: str) -> CallKey:
        """As the option was given: a function among a class' attributes would get the task as its first argument."""
        key = inspect.getattr_static(task, name)
        return cls(task, name, key.__func__ if isinstance(key, staticmethod) else key)

    def digest(self, args: Any, kwargs: Any) -> str:
        """Equal for calls that are alike. Raises TypeError for arguments that do not fit or cannot be compared."""
        from hashlib import sha256  # It brings OpenSSL along, 3 MB for a worker that has no such tasks.

        chosen = self._choose(tuple(args or ()), dict(kwargs or {}))
        try:
            text = json.dumps(chosen, sort_keys=True, default=repr)
        except (TypeError, ValueError) as error:
            raise TypeError(f"The {self.name} of {self.task.name} cannot be written: {error}") from error
        return sha256(text.encode()).hexdigest()[:32]

    def _choose(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if callable(self.chosen):
            return self.chosen(*args, **kwargs)
        given = self._bound(args, kwargs)
        if self.chosen is None:
            return given
        names = [self.chosen] if isinstance(self.chosen, str) else self.chosen
        unknown = [name for name in names if name not in given]
        if unknown:
            raise TypeError(f"{self.name} of {self.task.name} names no parameter: {', '.join(unknown)}")
        return {name: given[name] for name in names}

    def _bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Arguments by parameter, with defaults: however they are given, the same call is the same."""
        signature = inspect.signature(self.task.run)
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return dict(bound.arguments)
