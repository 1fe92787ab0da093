"""Results in memcached, under Celery's keys, which it forgets by itself."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from umbel import _native
from umbel.backends.base import Row, StoreSettings, key_prefix, missing, record_key
from umbel.exceptions import EncodeError, ImproperlyConfigured, OperationalError

try:
    from pymemcache.client.base import Client
    from pymemcache.client.hash import HashClient
    from pymemcache.exceptions import MemcacheClientError, MemcacheError, MemcacheIllegalInputError
except ImportError as error:
    raise missing("cache+memcached://", "pymemcache", "memcache") from error

__all__ = ["MemcachedStore"]

#: A longer life is taken for a moment (seconds).
_LONGEST_LIFE = 30 * 24 * 3600
#: How often a record may change under our eyes before we give up.
_ATTEMPTS = 16
#: Of pylibmc, which nobody uses any more.
_FORGOTTEN_OPTIONS = ("behaviors", "binary", "retry_attempts", "retry_delay", "retry_for", "do_not_retry_for")
_DEFAULTS = {"default_noreply": False, "connect_timeout": 5.0, "timeout": 5.0}


class MemcachedStore:
    """On one server, or spread over several as Celery spreads them."""

    def __init__(self, url: str, settings: StoreSettings) -> None:
        """Raises ImproperlyConfigured if the URL names no server."""
        servers = [server for server in url.partition("://")[2].rstrip("/").split(";") if server]
        if not servers:
            raise ImproperlyConfigured(
                "result_backend: cache+memcached:// needs a server: cache+memcached://host:11211/"
            )
        self._prefix = key_prefix(settings)
        given = dict(settings.get("cache_backend_options") or {})
        options = {**_DEFAULTS, **{name: given[name] for name in given if name not in _FORGOTTEN_OPTIONS}}
        self._client: Any = HashClient(servers, **options) if len(servers) > 1 else Client(servers[0], **options)

    def write(self, batch: Sequence[Row]) -> None:
        """As `Store.write`. Raises EncodeError for a record that is too large, or a name that is no key."""
        for name, _, record, life in batch:
            with _errors(name):
                self._write(self._key(name), record, _life(life))

    def _write(self, key: str, record: bytes, life: int) -> None:
        for _ in range(_ATTEMPTS):
            known, version = self._client.gets(key)
            if known is not None and _native.record_is_success(bytes(known)):
                return
            if known is None:
                written = self._client.add(key, record, expire=life, noreply=False)
            else:
                written = self._client.cas(key, record, version, expire=life, noreply=False)
            if written:
                return
        raise OperationalError(f"{key} keeps changing while it is read")

    def read(self, names: Sequence[str]) -> list[bytes | None]:
        """As `Store.read`."""
        keys = [self._key(name) for name in names]
        with _errors(", ".join(names[:3])):
            found = self._client.get_many(keys) if keys else {}
        return [found.get(key) for key in keys]

    def forget(self, names: Sequence[str]) -> int:
        """As `Store.forget`."""
        with _errors(", ".join(names[:3])):
            return sum(bool(self._client.delete(self._key(name), noreply=False)) for name in names)

    def remove_expired(self) -> int:
        """It does so itself."""
        return 0

    def close(self) -> None:
        """As `Store.close`."""
        self._client.close()

    def _key(self, name: str) -> str:
        return self._prefix + record_key(name)


def _life(life: float | None) -> int:
    """As memcached takes it: seconds, a moment, or 0 for ever."""
    if life is None:
        return 0
    seconds = max(1, int(life))
    return seconds if seconds <= _LONGEST_LIFE else int(time.time()) + seconds


@contextmanager
def _errors(about: str) -> Iterator[None]:
    try:
        yield
    except MemcacheIllegalInputError as error:
        raise EncodeError(f"{about}: {error}") from error
    except MemcacheClientError as error:
        raise EncodeError(f"{about}: {error}") from error
    except MemcacheError as error:
        if b"too large" in b" ".join(arg for arg in error.args if isinstance(arg, bytes)) or "too large" in str(error):
            raise EncodeError(f"{about}: memcached takes no record of that size ({error})") from error
        raise OperationalError(str(error)) from error
    except OSError as error:
        raise OperationalError(str(error)) from error
