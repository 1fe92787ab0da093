"""Results as files in a folder, one for each record, as Celery's filesystem backend has them."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

from umbel import _native
from umbel.backends.base import SAVED_GROUP, TASK, Row, StoreSettings, key_prefix, record_key
from umbel.exceptions import EncodeError, ImproperlyConfigured, OperationalError

__all__ = ["FilesystemStore"]

#: Held by whoever writes, and no record's name.
_LOCK = ".umbel-lock"


class FilesystemStore:
    """Files appear whole: they are written under another name first. Their time of change tells when they expire."""

    def __init__(self, url: str, settings: StoreSettings) -> None:
        """Raises ImproperlyConfigured for a folder that cannot be written to."""
        self._folder = Path(_folder_of(url))
        self._prefix = key_prefix(settings)
        self._expires: float | None = settings.get("result_expires") or None
        if not os.access(self._folder, os.W_OK | os.X_OK):
            raise ImproperlyConfigured(
                f"result_backend: {self._folder} is no folder that can be written to; make it first"
            )

    def write(self, batch: Sequence[Row]) -> None:
        """As `Store.write`. Raises EncodeError for names that cannot be a file's."""
        with _errors(), self._locked():
            for name, _, record, life in batch:
                path = self._path(name)
                if not _native.record_is_success(_content(path) or b""):
                    self._write(path, record, life)

    def _write(self, path: Path, record: bytes, life: float | None) -> None:
        temporary = path.with_name(f".{path.name}.new")
        temporary.write_bytes(record)
        if life is not None and self._expires is not None and life != self._expires:
            # Whoever cleans up, Celery too, looks for files older than `result_expires`.
            moment = time.time() + life - self._expires
            os.utime(temporary, (moment, moment))
        temporary.replace(path)

    def read(self, names: Sequence[str]) -> list[bytes | None]:
        """As `Store.read`."""
        with _errors():
            return [_content(self._path(name)) for name in names]

    def forget(self, names: Sequence[str]) -> int:
        """As `Store.forget`."""
        count = 0
        with _errors():
            for name in names:
                count += _remove(self._path(name))
        return count

    def remove_expired(self) -> int:
        """As `Store.remove_expired`: by `result_expires`."""
        if self._expires is None:
            return 0
        oldest, count = time.time() - self._expires, 0
        ours = (self._prefix + TASK, self._prefix + SAVED_GROUP)
        with _errors():
            for entry in os.scandir(self._folder):
                if entry.name.startswith(ours) and _modified(entry) < oldest:
                    count += _remove(Path(entry.path))
        return count

    def close(self) -> None:
        """Nothing is open."""

    def _path(self, name: str) -> Path:
        key = self._prefix + record_key(name)
        # An id comes from whoever sends tasks: it must not lead out of the folder.
        if "/" in key or "\0" in key or len(os.fsencode(key)) > 240:
            raise EncodeError(f"The task id {name[:100]!r} cannot be the name of a file")
        return self._folder / key

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with open(self._folder / _LOCK, "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _folder_of(url: str) -> str:
    for start in ("file://localhost/", "filesystem://localhost/"):
        if url.startswith(start):
            return unquote(url[len(start) - 1 :])
    path = unquote(url.partition("://")[2])
    if not path:
        raise ImproperlyConfigured("result_backend: file:// needs the path of a folder, such as file:///var/results")
    return path


def _content(path: Path) -> bytes | None:
    try:
        # One that Celery is writing is empty for a moment.
        return path.read_bytes() or None
    except FileNotFoundError:
        return None


def _remove(path: Path) -> int:
    try:
        path.unlink()
    except FileNotFoundError:
        return 0
    return 1


def _modified(entry: os.DirEntry[str]) -> float:
    try:
        return entry.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OperationalError(str(error)) from error
