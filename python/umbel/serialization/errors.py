"""Turns what codecs raise into EncodeError and DecodeError."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from umbel.exceptions import DecodeError, EncodeError, SerializationError, SerializerNotInstalled

__all__ = ["decoding", "encoding"]


@contextmanager
def encoding() -> Iterator[None]:
    """Anything raised inside becomes EncodeError, with the text of the cause."""
    try:
        yield
    except (SerializationError, SerializerNotInstalled):
        raise
    except Exception as error:
        raise EncodeError(str(error) or repr(error)) from error


@contextmanager
def decoding() -> Iterator[None]:
    """Anything raised inside becomes DecodeError, with the text of the cause."""
    try:
        yield
    except (SerializationError, SerializerNotInstalled):
        raise
    except Exception as error:
        raise DecodeError(str(error) or repr(error)) from error
