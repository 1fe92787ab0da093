"""Exceptions as results carry them: `{"exc_type", "exc_message", "exc_module"}`, and back."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Mapping
from typing import Any

from umbel.exceptions import SecurityError, UnpickleableExceptionWrapper, safe_repr, wire_class, wire_module

__all__ = ["RemoteTraceback", "portable", "rebuild", "restore_wrapped", "to_fields", "with_remote_traceback"]

_ROOTS = (Exception, BaseException, object)


def to_fields(error: BaseException, encode: Callable[[Any], object]) -> dict[str, Any]:
    """The three fields of a portable exception; arguments that `encode` cannot write become their repr."""
    cls = type(error)
    return {
        "exc_type": cls.__qualname__,
        "exc_message": [_safe_argument(argument, encode) for argument in error.args],
        "exc_module": wire_module(cls),
    }


def _safe_argument(argument: Any, encode: Callable[[Any], object]) -> Any:
    try:
        encode(argument)
    except BaseException:
        # Code of the argument's class runs here; whatever it raises says that the argument cannot be written.
        return safe_repr(argument)
    return argument


def portable(error: BaseException) -> BaseException:
    """The exception itself if another process can rebuild it, else its nearest base that can be rebuilt from its
    arguments, else an UnpickleableExceptionWrapper that tells module, class, arguments and text."""
    if _survives(error):
        return error
    for base in type(error).__mro__[1:]:
        if base in _ROOTS:
            break
        try:
            replacement = base(*error.args)
        except BaseException:
            continue
        if isinstance(replacement, BaseException) and _survives(replacement):
            return replacement.with_traceback(error.__traceback__)
    cls = type(error)
    arguments = [_safe_argument(argument, _round_trip) for argument in error.args]
    wrapper = UnpickleableExceptionWrapper(cls.__module__, cls.__name__, arguments, safe_repr(error))
    return wrapper.with_traceback(error.__traceback__)


def _round_trip(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


def _survives(value: Any) -> bool:
    try:
        _round_trip(value)
    except BaseException:
        return False
    return True


def rebuild(fields: Any) -> BaseException | None:
    """The exception a record describes, as an instance of its own class if this process has imported it.

    Of a class unknown here a stand-in of the same name is made. Raises SecurityError if the name leads to something
    that is no exception, ValueError if the fields are no description.
    """
    if not fields:
        return None
    if isinstance(fields, BaseException):
        return fields
    if not isinstance(fields, Mapping) or "exc_type" not in fields:
        raise ValueError(f"A stored exception must be a map with exc_type, not {fields!r}")
    name, module = str(fields["exc_type"]), fields.get("exc_module")
    cls = _find_class(module, name, fields.get("exc_message"))
    return _construct(cls, fields.get("exc_message", ""))


def _find_class(module: str | None, name: str, message: Any) -> type[BaseException]:
    if module is not None:
        ours = wire_class(module, name)
        if ours is not None:
            return ours
    found: Any = sys.modules.get(module) if module is not None else None
    for part in name.split(".") if found is not None else ():
        found = getattr(found, part, None)
    if found is None:
        return type(name.rpartition(".")[2], (Exception,), {"__module__": module or "umbel.exceptions"})
    if not (isinstance(found, type) and issubclass(found, BaseException)):
        # Calling whatever a record names would let its writer run any function of any imported module.
        raise SecurityError(f"Expected an exception class, got {module}.{name} with payload {message!r}")
    return found


def _construct(cls: type[BaseException], message: Any) -> BaseException:
    try:
        return cls(*message) if isinstance(message, (list, tuple)) else cls(message)
    except (Exception, SystemExit):
        return Exception(f"{cls}({message})")


def restore_wrapped(error: BaseException) -> BaseException:
    """A stand-in of the original's name for an UnpickleableExceptionWrapper; anything else unchanged."""
    if not isinstance(error, UnpickleableExceptionWrapper):
        return error
    cls = type(error.exc_cls_name, (Exception,), {"__module__": error.exc_module})
    arguments = error.exc_args if isinstance(error.exc_args, (list, tuple)) else (error.exc_args,)
    restored: BaseException = cls(*arguments)
    return restored


class RemoteTraceback(Exception):
    """The traceback an exception had in the worker, as the cause of what is raised in the client."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def with_remote_traceback(error: BaseException, text: str) -> BaseException:
    """The exception with the traceback it had in the worker: rebuilt from its text where tblib is installed, else told
    by its cause."""
    try:
        from tblib import Traceback, TracebackParseError
    except ImportError:
        if error.__cause__ is None:
            error.__cause__ = RemoteTraceback(text)
        return error
    try:
        return error.with_traceback(Traceback.from_string(text).as_traceback())
    except TracebackParseError:
        # Of another tool, or cut.
        error.__cause__ = error.__cause__ or RemoteTraceback(text)
        return error
