"""Records of results as bytes: which serializer wrote them, and Celery's mark of compression in front."""

from __future__ import annotations

from typing import Any

from umbel.serialization.compression import compress, decompress
from umbel.serialization.registry import loads

__all__ = ["load_packed", "packed", "told_content_type"]

_COMPRESSED = b"\x00celery-compressed\x00"


def packed(data: bytes, method: str) -> bytes:
    """Compressed, with the mark that tells how. Raises KeyError for methods nobody knows."""
    compressed, name = compress(data, method)
    return _COMPRESSED + name.encode() + b"\x00" + compressed


def load_packed(data: bytes, accept: frozenset[str]) -> Any:
    """The value in bytes that carry no content type. Raises DecodeError, ContentDisallowed."""
    if data.startswith(_COMPRESSED):
        method, _, rest = data[len(_COMPRESSED) :].partition(b"\x00")
        data = decompress(rest, method.decode("ascii", "replace"))
    return loads(data, told_content_type(data), None, accept)


def told_content_type(data: bytes) -> str:
    """The content type of a map or list, told by its first bytes."""
    first = data[:2]
    if first[:1] in (b"{", b"["):
        return "application/json"
    if first[:1] == b"\x80" and first[1:] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "application/x-python-serialize"
    if first and (0x80 <= first[0] <= 0x8F or first[0] in (0xDE, 0xDF)):
        return "application/x-msgpack"
    return "application/x-yaml"
