"""Times, ids and compression."""

from __future__ import annotations

import uuid
import zlib

import pytest
from kombu.compression import compress as kombu_compress
from kombu.compression import decompress as kombu_decompress

from umbel._native import MalformedError, compress, decompress, parse_iso8601, uuid4

DATA = b"[[2, 3], {}, {}]" * 100


@pytest.mark.parametrize(
    ("text", "seconds", "naive"),
    [
        ("1970-01-01T00:00:00", 0.0, True),
        ("1970-01-01T01:00:00+01:00", 0.0, False),
        ("2026-11-22T19:08:18.561910Z", 1795374498.56191, False),
        ("20300102T030405", 1893553445.0, True),
    ],
)
def test_times_are_read(text: str, seconds: float, naive: bool) -> None:
    assert parse_iso8601(text) == (seconds, naive)


def test_no_time_is_malformed() -> None:
    with pytest.raises(MalformedError, match="soon"):
        parse_iso8601("soon")


def test_ids_are_random_uuids() -> None:
    ids = {uuid4() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(uuid.UUID(each).version == 4 and str(uuid.UUID(each)) == each for each in ids)


@pytest.mark.parametrize("method", ["zlib", "gzip", "bzip2"])
def test_kombu_reads_what_was_compressed_and_the_reverse(method: str) -> None:
    packed, header = compress(DATA, method)
    theirs, their_header = kombu_compress(DATA, method)
    assert header == their_header
    assert kombu_decompress(packed, header) == decompress(theirs, header) == decompress(packed, method) == DATA


def test_zstd_too() -> None:
    packed, header = compress(DATA, "zstd")
    assert (header, decompress(packed, header)) == ("application/zstd", DATA)


def test_what_only_python_can_do_is_a_key_error() -> None:
    for method in ("lzma", "brotli", "nonsense"):
        with pytest.raises(KeyError, match=method):
            compress(DATA, method)
        with pytest.raises(KeyError, match=method):
            decompress(DATA, method)


def test_bombs_and_damage_are_malformed() -> None:
    with pytest.raises(MalformedError, match="limit of 1000"):
        decompress(zlib.compress(bytes(10_000)), "zlib", limit=1000)
    with pytest.raises(MalformedError):
        decompress(zlib.compress(DATA)[:-5], "zlib")
