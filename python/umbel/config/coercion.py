"""Brings a setting's value to its type, or says which setting cannot take it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from umbel.config.settings import Setting
from umbel.exceptions import ImproperlyConfigured

__all__ = ["coerce"]

_TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})
_FALSE = frozenset({"0", "false", "f", "no", "n", "off", ""})


def coerce(setting: Setting, value: Any) -> Any:
    """`value` as the setting's type. None always passes: it means "not set". Raises ImproperlyConfigured."""
    if value is None or setting.type == "any":
        return value
    try:
        return _COERCIONS[setting.type](value)
    except (TypeError, ValueError) as error:
        shown = "***" if "password" in setting.name or "secret" in setting.name else repr(value)
        raise ImproperlyConfigured(
            f"Setting {setting.name} takes {_EXPECTED[setting.type]}, not {shown} ({setting.doc})"
        ) from error


def _to_bool(value: Any) -> bool:
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _TRUE:
            return True
        if word in _FALSE:
            return False
        raise ValueError(value)
    if isinstance(value, (bool, int)):
        return bool(value)
    raise TypeError(value)


def _to_int(value: Any) -> int:
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(value)
    if isinstance(value, timedelta):
        return int(value.total_seconds())
    return int(value)


def _to_seconds(value: Any) -> float | int:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool):
        raise TypeError(value)
    return value if isinstance(value, int) else float(value)


def _to_str(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _to_dict(value: Any) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(value)
    return dict(value)


def _to_list(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return list(value)


def _to_tuple(value: Any) -> tuple[Any, ...]:
    return tuple(_to_list(value))


_COERCIONS: dict[str, Callable[[Any], Any]] = {
    "bool": _to_bool,
    "dict": _to_dict,
    "float": float,
    "int": _to_int,
    "list": _to_list,
    "seconds": _to_seconds,
    "str": _to_str,
    "tuple": _to_tuple,
}
_EXPECTED = {
    "bool": "true or false",
    "dict": "a dict",
    "float": "a number",
    "int": "a whole number",
    "list": "a list",
    "seconds": "a number of seconds or a timedelta",
    "str": "a string",
    "tuple": "a tuple or list",
}
