"""`redis_*`: what the URL of a Redis result store leaves open.

As in Celery, what the URL says wins; the database comes from `redis_db` only where `result_backend` is the bare name
`redis`, for the path of a URL always names one (none: 0).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from umbel.config.conf import Settings

__all__ = ["completed_url", "store_options"]

_SCHEMES = ("redis", "rediss")
_OTHER_SCHEMES = ("redis+socket", "unix", "sentinel", "redis+sentinel", "rediss+sentinel")
#: Options of the connection and the settings they are called by.
_OPTIONS = {
    "username": "redis_username",
    "password": "redis_password",
    "socket_timeout": "redis_socket_timeout",
    "socket_connect_timeout": "redis_socket_connect_timeout",
    "socket_keepalive": "redis_socket_keepalive",
}


def completed_url(url: Any, settings: Settings) -> Any:
    """`url` with `redis_host`, `redis_port` and `redis_db` where it names no server; any other URL as it is."""
    if not isinstance(url, str):
        return url
    scheme, separator, rest = url.partition("://")
    if scheme not in _SCHEMES or ";" in rest:
        return url
    address, mark, query = rest.partition("?")
    user, at, place = address.rpartition("@")
    host, _, path = place.partition("/")
    if not separator:
        path = str(settings["redis_db"] or 0)
    port = settings["redis_port"]
    if not host:
        host = _host(settings["redis_host"] or "localhost")
    elif port is None or _has_port(host) or "," in host:
        return url
    return f"{scheme}://{user}{at}{host}{f':{port}' if port and not _has_port(host) else ''}/{path}{mark}{query}"


def store_options(settings: Settings) -> dict[str, Any]:
    """Options of the connection that were set by name; empty unless `result_backend` is a Redis store."""
    url = settings["result_backend"]
    if not isinstance(url, str) or url.partition("://")[0] not in (*_SCHEMES, *_OTHER_SCHEMES):
        return {}
    return {
        option: settings[name]
        for option, name in _OPTIONS.items()
        if settings.is_set(name) and settings[name] is not None
    }


def _host(host: str) -> str:
    """As it stands in a URL."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _has_port(host: str) -> bool:
    return ":" in host.rpartition("]")[2]
