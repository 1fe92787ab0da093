"""Serializers by name and by content type.

JSON, pickle, yaml, msgpack and cloudpickle are known; which may be *read* is decided by `accept_content`, whatever is
installed. Packages are imported at first use.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

from umbel.exceptions import ContentDisallowed, ImproperlyConfigured, SerializerNotInstalled
from umbel.serialization import json
from umbel.serialization.errors import decoding, encoding

__all__ = ["Codec", "accepted", "by_content_type", "by_name", "dumps", "loads", "register", "unregister"]

Encoder = Callable[[Any], "bytes | str"]
Decoder = Callable[[Any], Any]


@dataclass(frozen=True)
class Codec:
    """One serializer. Decoders get bytes if `content_encoding` is `binary`, text otherwise."""

    name: str
    content_type: str
    content_encoding: str
    encode: Encoder
    decode: Decoder

    def dumps(self, value: Any) -> bytes:
        """Bytes of a value. Raises EncodeError."""
        with encoding():
            data = self.encode(value)
            return data.encode(self.content_encoding) if isinstance(data, str) else data

    def loads(self, data: bytes, content_encoding: str | None = None) -> Any:
        """A value from bytes; the message may name another text encoding. Raises DecodeError."""
        charset = (content_encoding or self.content_encoding).lower()
        with decoding():
            if self.content_encoding == "binary" or charset in ("binary", "ascii-8bit"):
                return self.decode(data)
            return self.decode(data.decode(charset))


_by_name: dict[str, Codec] = {}
_by_type: dict[str, Codec] = {}


def register(
    name: str,
    encoder: Encoder,
    decoder: Decoder,
    content_type: str,
    content_encoding: str = "utf-8",
) -> None:
    """Adds or replaces a serializer. It is read only where `accept_content` names it."""
    codec = Codec(name, content_type, content_encoding, encoder, decoder)
    _by_name[name] = codec
    _by_type[content_type] = codec


def unregister(name: str) -> None:
    """Removes a serializer by name. Raises SerializerNotInstalled."""
    codec = by_name(name)
    del _by_name[name]
    _by_type.pop(codec.content_type, None)


def by_name(name: str) -> Codec:
    """The serializer of that name. Raises SerializerNotInstalled."""
    try:
        return _by_name[name]
    except KeyError:
        raise SerializerNotInstalled(f"No serializer {name!r}; known: {', '.join(sorted(_by_name))}") from None


def by_content_type(content_type: str) -> Codec:
    """The serializer of a content type. Raises SerializerNotInstalled."""
    try:
        return _by_type[content_type]
    except KeyError:
        raise SerializerNotInstalled(f"No serializer reads content type {content_type!r}") from None


def accepted(names: Iterable[str]) -> frozenset[str]:
    """Content types for names or content types of `accept_content`. Raises ImproperlyConfigured."""
    types = set()
    for name in names:
        if name in _by_name:
            types.add(_by_name[name].content_type)
        elif "/" in name:
            types.add(name)
        else:
            raise ImproperlyConfigured(
                f"accept_content names no serializer {name!r}; known: {', '.join(sorted(_by_name))}"
            )
    return frozenset(types)


def dumps(value: Any, serializer: str) -> tuple[str, str, bytes]:
    """Content type, content encoding and bytes of a value. Raises EncodeError or SerializerNotInstalled."""
    codec = by_name(serializer)
    return codec.content_type, codec.content_encoding, codec.dumps(value)


def loads(data: bytes, content_type: str, content_encoding: str | None, accept: frozenset[str]) -> Any:
    """The value. Raises ContentDisallowed for content types outside `accept`, DecodeError, SerializerNotInstalled."""
    if content_type not in accept:
        known = _by_type.get(content_type)
        shown = known.name if known else content_type
        raise ContentDisallowed(
            f"Refusing content of type {shown} ({content_type}); accept_content allows {', '.join(sorted(accept))}"
        )
    return by_content_type(content_type).loads(data, content_encoding)


# --- codecs of optional packages


def _needs(package: str, serializer: str, error: ImportError) -> SerializerNotInstalled:
    return SerializerNotInstalled(
        f"The {serializer} serializer needs the package {package}: pip install {package} ({error})"
    )


def _yaml_dumps(value: Any) -> str:
    try:
        import yaml
    except ImportError as error:
        raise _needs("pyyaml", "yaml", error) from error
    return str(yaml.safe_dump(value, default_flow_style=False))


def _yaml_loads(data: str) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise _needs("pyyaml", "yaml", error) from error
    return yaml.safe_load(data)


def _msgpack_dumps(value: Any) -> bytes:
    try:
        import msgpack
    except ImportError as error:
        raise _needs("msgpack", "msgpack", error) from error
    return cast(bytes, msgpack.packb(value, use_bin_type=True))


def _msgpack_loads(data: bytes) -> Any:
    try:
        import msgpack
    except ImportError as error:
        raise _needs("msgpack", "msgpack", error) from error
    return msgpack.unpackb(data, raw=False)


def _cloudpickle_dumps(value: Any) -> bytes:
    try:
        import cloudpickle
    except ImportError as error:
        raise _needs("cloudpickle", "cloudpickle", error) from error
    return bytes(cloudpickle.dumps(value, protocol=4))


def _pickle_dumps(value: Any) -> bytes:
    # Protocol 4 is what Celery writes and every supported Python reads.
    return pickle.dumps(value, protocol=4)


def _raw(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)


register("json", json.dumps, json.loads, "application/json")
register("pickle", _pickle_dumps, pickle.loads, "application/x-python-serialize", "binary")
register("yaml", _yaml_dumps, _yaml_loads, "application/x-yaml")
register("msgpack", _msgpack_dumps, _msgpack_loads, "application/x-msgpack", "binary")
register("cloudpickle", _cloudpickle_dumps, pickle.loads, "application/x-cloudpickle", "binary")
register("raw", _raw, bytes, "application/data", "binary")
