"""From the setting `result_backend` to its store."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from umbel.backends.base import Store, StoreSettings
from umbel.exceptions import ImproperlyConfigured
from umbel.serialization import by_name

__all__ = ["is_native", "open_store", "reply_options", "store_opener", "store_settings"]

#: Schemes of the stores in the core.
_NATIVE = frozenset(
    {
        "memory", "sqlite", "redis", "rediss", "redis+socket", "unix", "sentinel", "redis+sentinel",
        "rediss+sentinel", "rpc",
    }
)  # fmt: skip

#: What the names of settings begin with that stores may read.
_PREFIXES = (
    "arangodb_", "azureblockblob_", "cache_", "cassandra_", "cosmosdbsql_", "couchbase_", "couchdb_", "database_",
    "dynamodb_", "elasticsearch_", "gcs_", "mongodb_", "result_", "s3_",
)  # fmt: skip
_NAMES = ("accept_content", "enable_utc", "timezone", "worker_max_message_bytes")

#: Celery's names of its stores.
_CELERY = {
    "arangodb": "celery.backends.arangodb:ArangoDbBackend",
    "azureblockblob": "celery.backends.azureblockblob:AzureBlockBlobBackend",
    "cache": "celery.backends.cache:CacheBackend",
    "cassandra": "celery.backends.cassandra:CassandraBackend",
    "consul": "celery.backends.consul:ConsulBackend",
    "cosmosdbsql": "celery.backends.cosmosdbsql:CosmosDBSQLBackend",
    "couchbase": "celery.backends.couchbase:CouchbaseBackend",
    "couchdb": "celery.backends.couchdb:CouchBackend",
    "dynamodb": "celery.backends.dynamodb:DynamoDBBackend",
    "elasticsearch": "celery.backends.elasticsearch:ElasticsearchBackend",
    "gs": "celery.backends.gcs:GCSBackend",
    "mongodb": "celery.backends.mongodb:MongoBackend",
    "s3": "celery.backends.s3:S3Backend",
}
_SQL = ("db", "database")
_MEMCACHED = ("memcache", "memcached", "pylibmc", "pymemcache")


def is_native(url: str | None) -> bool:
    """True if the core itself has the store, or there is none."""
    return not url or url.startswith("disabled") or url.split(":", 1)[0].lower() in _NATIVE


def store_settings(conf: Any) -> dict[str, Any]:
    """What a store may want to know."""
    names = [name for name in conf if name in _NAMES or name.startswith(_PREFIXES)]
    return {name: conf[name] for name in names}


def store_opener(url: str | None, settings: StoreSettings) -> Callable[[], Store] | None:
    """What opens the store at `url`; None if the core does. Nothing is imported or connected yet."""
    return None if url is None or is_native(url) else functools.partial(open_store, url, settings)


def reply_options(url: str | None, settings: StoreSettings, reply_to: Callable[[], str]) -> Callable[[], Any] | None:
    """How results are sent to whoever asked for them; None if they are stored. `reply_to` names this process' own
    queue.

    Raises:
        ImproperlyConfigured: There is no such result serializer.
    """
    if url is None or url.partition(":")[0].lower() != "rpc":
        return None
    codec = by_name(settings.get("result_serializer") or "json")
    written = {
        "content_type": codec.content_type,
        "content_encoding": codec.content_encoding,
        "persistent": bool(settings.get("result_persistent")),
    }
    return lambda: {**written, "reply_to": reply_to()}


def open_store(url: str, settings: StoreSettings) -> Store:
    """The store that `result_backend` names.

    Raises:
        ImproperlyConfigured: There is no such store, its package is not installed, or a setting cannot work.
        OperationalError: It cannot be reached now.
    """
    scheme, separator, _ = url.partition("://")
    kind, plus, _ = scheme.partition("+")
    # Of `db+postgresql://` the store is called `db`, and the rest is its URL.
    rest = url.partition("+")[2] if plus and separator else url
    if kind == "file" or kind == "filesystem":
        from umbel.backends.filesystem import FilesystemStore

        return FilesystemStore(url, settings)
    if kind in _SQL:
        from umbel.backends.database import DatabaseStore

        return DatabaseStore(rest if separator else settings.get("database_url"), settings)
    if kind == "cache":
        rest = rest if separator else settings.get("cache_backend") or ""
        if rest.partition("://")[0] in _MEMCACHED:
            from umbel.backends.memcached import MemcachedStore

            return MemcachedStore(rest, settings)
    path = _CELERY.get(kind, kind)
    if "." not in path:
        raise ImproperlyConfigured(_unknown(url, kind))
    from umbel.backends.celery_store import CeleryStore

    return CeleryStore(path, rest if separator else None, settings)


def _unknown(url: str, kind: str) -> str:
    known = [*sorted(_NATIVE), "db+postgresql", "db+mysql", "db+sqlite", "file", "cache+memcached", *sorted(_CELERY)]
    shown = url if "@" not in url else f"{kind}://…"
    return (
        f"result_backend: {shown!r} names no known store; URLs begin with {', '.join(f'{one}://' for one in known)}, "
        "or name a class of result backends by its dotted path"
    )
