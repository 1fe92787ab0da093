"""Checks a call's arguments where it is made rather than where the task would fail."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["ArgumentCheck", "open_positional_parameters"]

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class ArgumentCheck:
    """Knows how a function may be called. `bound`: its first parameter is the task itself."""

    def __init__(self, function: Callable[..., Any], bound: bool) -> None:
        signature = inspect.signature(function)
        parameters = list(signature.parameters.values())
        if bound and parameters and parameters[0].kind in _POSITIONAL:
            parameters = parameters[1:]
        self._signature = signature.replace(parameters=parameters)
        self._name = getattr(function, "__name__", repr(function))
        positional = [parameter for parameter in parameters if parameter.kind in _POSITIONAL]
        required = [parameter for parameter in positional if parameter.default is inspect.Parameter.empty]
        variadic = any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters)
        keyword_needed = any(
            parameter.kind is inspect.Parameter.KEYWORD_ONLY and parameter.default is inspect.Parameter.empty
            for parameter in parameters
        )
        #: A call with this many positional arguments and no others is right without a closer look.
        self._least = len(required) if not keyword_needed else 1 << 30
        self._most = 1 << 30 if variadic else len(positional)

    def __call__(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raises TypeError as a call of the function would."""
        if not kwargs and self._least <= len(args) <= self._most:
            return
        try:
            self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self._name}() {error}") from None


def open_positional_parameters(function: Callable[..., Any], bound: bool) -> float:
    """How many positional arguments the function takes (`inf` with `*args`), not counting the task if `bound`."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return 0
    if any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters):
        return float("inf")
    count = sum(1 for parameter in parameters if parameter.kind in _POSITIONAL)
    return count - 1 if bound else count
