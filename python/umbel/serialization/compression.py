"""Compression by name or content type: the core's methods, and lzma and brotli, which only Python has."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from umbel import _native
from umbel.exceptions import DecodeError, SerializerNotInstalled

__all__ = ["compress", "decompress"]

_LZMA = "application/x-lzma"
_BROTLI = "application/x-brotli"
_NAMES = {"lzma": _LZMA, "xz": _LZMA, _LZMA: _LZMA, "brotli": _BROTLI, _BROTLI: _BROTLI}
#: A few kilobytes can unpack to more than a machine has.
_LIMIT = 1 << 30


def compress(data: bytes, method: str) -> tuple[bytes, str]:
    """The packed bytes and the content type that goes into the header.

    Raises KeyError for methods nobody knows, SerializerNotInstalled for a missing package.
    """
    name = _NAMES.get(method)
    if name == _LZMA:
        import lzma  # Rare, so `import umbel` is spared it.

        return lzma.compress(data), _LZMA
    if name == _BROTLI:
        return bytes(_brotli().compress(data)), _BROTLI
    return _native.compress(data, method)


def decompress(data: bytes, method: str, limit: int = _LIMIT) -> bytes:
    """The reverse. Raises DecodeError, also for methods nobody knows and for more than `limit` bytes of output."""
    name = _NAMES.get(method)
    try:
        if name == _LZMA:
            return _unpack_lzma(data, limit)
        if name == _BROTLI:
            return _checked(bytes(_brotli().decompress(data)), limit)
        return _native.decompress(data, method, limit=limit)
    except KeyError:
        raise DecodeError(f"no compression method {method!r} is known") from None
    except (DecodeError, SerializerNotInstalled):
        raise
    except Exception as error:
        raise DecodeError(f"what should be {method} is not: {error}") from error


def _unpack_lzma(data: bytes, limit: int) -> bytes:
    import lzma

    unpacker = lzma.LZMADecompressor()
    found = _checked(unpacker.decompress(data, max_length=limit + 1), limit)
    if not unpacker.eof:
        raise DecodeError("lzma data ends early")
    return found


def _checked(data: bytes, limit: int) -> bytes:
    if len(data) > limit:
        raise DecodeError(f"unpacks to more than {limit} bytes")
    return data


def _brotli() -> Any:
    try:
        return import_module("brotli")
    except ImportError as error:
        raise SerializerNotInstalled(f"brotli compression needs a package: pip install brotli ({error})") from error
