"""The JSON codec: the extension's, with types applications register."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from umbel import _native

__all__ = ["dumps", "loads", "register_type"]

T = TypeVar("T")

dumps = _native.json_dumps
loads = _native.json_loads


class _Type(NamedTuple):
    marker: str
    encode: Callable[[Any], Any]


_by_class: dict[type, _Type] = {}
_decoders: dict[str, Callable[[Any], Any]] = {}


def register_type(cls: type[T], marker: str, encoder: Callable[[T], Any], decoder: Callable[[Any], T]) -> None:
    """Lets JSON carry instances of `cls` (not of its subclasses) as `{"__type__": marker, "__value__": ...}`.

    `encoder` makes a JSON value of an instance, `decoder` the reverse. Readers need the same registration.
    """
    _by_class[cls] = _Type(marker, encoder)
    _decoders[marker] = decoder


def _default(value: Any) -> Any:
    registered = _by_class.get(type(value))
    if registered is not None:
        return {"__type__": registered.marker, "__value__": registered.encode(value)}
    as_json = getattr(value, "__json__", None)
    if callable(as_json):
        return as_json()
    if isinstance(value, enum.Enum):
        raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable; pass its .value")
    if type(value).__module__.startswith("django.utils.functional"):  # text that is translated late
        return str(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _decode(marker: str, value: Any) -> Any:
    decoder = _decoders.get(marker)
    if decoder is None:
        raise ValueError(f"Unsupported type marker {marker!r}; register it with register_type")
    return decoder(value)


_native.set_json_fallback(_default, _decode)
