"""Compression of bodies and results."""

from __future__ import annotations

import pytest

from umbel.exceptions import DecodeError
from umbel.serialization.compression import compress, decompress

METHODS = {
    "zlib": "application/x-gzip",
    "gzip": "application/x-gzip",
    "bzip2": "application/x-bz2",
    "zstd": "application/zstd",
    "lzma": "application/x-lzma",
    "xz": "application/x-lzma",
}


@pytest.mark.parametrize(("method", "content_type"), METHODS.items())
def test_there_and_back(method: str, content_type: str) -> None:
    packed, header = compress(b"x" * 1000, method)
    assert header == content_type
    assert decompress(packed, header) == decompress(packed, method) == b"x" * 1000


@pytest.mark.parametrize("method", sorted(set(METHODS.values())))
def test_bytes_that_are_nothing_and_bytes_cut_short(method: str) -> None:
    packed, _ = compress(b"x" * 1000, method)
    for data in (b"nonsense", packed[:-4]):
        with pytest.raises(DecodeError):
            decompress(data, method)


@pytest.mark.parametrize("method", sorted(set(METHODS.values())))
def test_a_bomb(method: str) -> None:
    packed, _ = compress(bytes(1_000_000), method)
    with pytest.raises(DecodeError):
        decompress(packed, method, limit=1000)


def test_unknown_methods() -> None:
    with pytest.raises(KeyError):
        compress(b"", "rot13")
    with pytest.raises(DecodeError, match="rot13"):
        decompress(b"", "rot13")


def test_brotli_is_optional() -> None:
    brotli = pytest.importorskip("brotli")
    packed, header = compress(b"x", "brotli")
    assert header == "application/x-brotli"
    assert brotli.decompress(packed) == decompress(packed, "brotli") == b"x"
