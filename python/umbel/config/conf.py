"""`app.conf`: settings as attributes and as a dict, read from their sources at first use."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

from umbel.config.coercion import coerce
from umbel.config.naming import resolve_strictly
from umbel.config.redis_store import completed_url, store_options
from umbel.config.settings import SETTINGS
from umbel.config.sources import from_environment, read
from umbel.exceptions import ImproperlyConfigured

__all__ = ["Settings", "hide_password"]

#: Broker and result store of an application that names none: a file in the working directory.
DEFAULT_URL = "sqlite:///umbel.sqlite3"
#: Brokers that are result stores too, and are used as such unless told otherwise.
_SELF_CONTAINED = ("sqlite:", "memory:")

_SECRET_NAME = re.compile("password|secret|key_password|token", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(?P<user>[a-z0-9+]+://[^:/@\s]*):[^@\s]*@", re.IGNORECASE)


def hide_password(url: str) -> str:
    """The URL with `***` for its password."""
    return _URL_PASSWORD.sub(r"\g<user>:***@", url)


class Settings(MutableMapping[str, Any]):
    """Settings by precedence: environment, then what was set or loaded last, then the defaults.

    Reading is by attribute or key; old upper-case names work in both. Setting an unknown name raises
    ImproperlyConfigured with the nearest known one. `version` grows with every change, for whoever caches.
    """

    __slots__ = (
        "_changes",  # set by code, wins over what was loaded
        "_declared",  # defaults the application brought
        "_lazy_defaults",  # functions that will bring more
        "_loaded",  # read from sources
        "_loading",
        "_mutable",  # defaults that were handed out and may have been changed in place
        "_pending",  # sources not read yet
        "_values",  # what each name comes to, until the next change
        "version",
    )

    _changes: dict[str, Any]
    _declared: dict[str, Any]
    _lazy_defaults: list[Callable[[], Mapping[str, Any]]]
    _loaded: dict[str, Any]
    _loading: bool
    _mutable: dict[str, Any]
    _pending: list[tuple[Any, str | None]]
    _values: dict[str, Any]
    version: int

    def __init__(self, **preset: Any) -> None:
        put = object.__setattr__
        put(self, "version", 0)
        put(self, "_changes", {})
        put(self, "_declared", {})
        put(self, "_lazy_defaults", [])
        put(self, "_loaded", {})
        put(self, "_loading", False)
        put(self, "_mutable", {})
        put(self, "_pending", [])
        put(self, "_values", {})
        for name, value in preset.items():
            self[name] = value

    # --- sources ---------------------------------------------------------------------------------------------

    def load_later(self, source: Any, namespace: str | None = None) -> None:
        """Reads `source` (see `sources.read`) when a setting is first wanted. Later sources win over earlier ones."""
        self._pending.append((source, namespace))
        self._touch()

    def add_defaults(self, defaults: Mapping[str, Any] | Callable[[], Mapping[str, Any]]) -> None:
        """Replaces defaults, and declares names of the application's own. A callable is called at first use."""
        if callable(defaults):
            self._lazy_defaults.append(defaults)
        else:
            self._declare(defaults)
        self._touch()

    def _declare(self, defaults: Mapping[str, Any]) -> None:
        for name, value in defaults.items():
            self._declared[name] = _checked(name, value)

    def load(self) -> None:
        """Reads the sources now. Raises what a source raises, and ImproperlyConfigured for what it holds."""
        if self._loading or not (self._pending or self._lazy_defaults):
            return
        object.__setattr__(self, "_loading", True)
        try:
            while self._lazy_defaults:
                self._declare(self._lazy_defaults[0]())
                self._lazy_defaults.pop(0)
            while self._pending:
                source, namespace = self._pending[0]
                for name, value in read(source, namespace, self._declared).items():
                    self._loaded[name] = _checked(name, value)
                self._pending.pop(0)
        finally:
            object.__setattr__(self, "_loading", False)
            self._touch()

    def _touch(self) -> None:
        self._values.clear()
        object.__setattr__(self, "version", self.version + 1)

    # --- reading ---------------------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError:
            resolve_strictly(name, self._declared)
            raise AttributeError(name) from None

    def __getitem__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            pass
        self.load()
        value = self._look_up(self._resolve(name))
        self._values[name] = value
        return value

    def _resolve(self, name: str) -> str:
        try:
            return resolve_strictly(name, self._declared)
        except ImproperlyConfigured as error:
            raise _UnknownSetting(str(error)) from None

    def _look_up(self, name: str) -> Any:
        special = _COMPUTED.get(name)
        return special(self) if special else self.plain(name)

    def plain(self, name: str) -> Any:
        """The value as set or by default, without environment or derivation."""
        for layer in (self._changes, self._loaded, self._declared, self._mutable):
            if name in layer:
                return layer[name]
        setting = SETTINGS[name]
        default = setting.celery_default if self._like_celery() else setting.default
        if isinstance(default, (dict, list)):
            # `conf.beat_schedule["x"] = ...` must last, and must not reach the table.
            default = self._mutable[name] = copy.deepcopy(default)
        return default

    def _like_celery(self) -> bool:
        layers = (self._changes, self._loaded, self._declared)
        return next((layer["defaults"] for layer in layers if "defaults" in layer), None) == "celery"

    def __iter__(self) -> Iterator[str]:
        self.load()
        yield from SETTINGS
        yield from (name for name in self._declared if name not in SETTINGS)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        self.load()
        return isinstance(name, str) and (name in SETTINGS or name in self._declared)

    def is_set(self, name: str) -> bool:
        """True if the application or the environment gave the setting a value."""
        self.load()
        return name in self._changes or name in self._loaded or name in from_environment()

    value_set_for = is_set

    # --- writing ---------------------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        key = resolve_strictly(name, self._declared)
        self._changes[key] = _checked(key, value)
        self._touch()

    def __delitem__(self, name: str) -> None:
        key = resolve_strictly(name, self._declared)
        self._changes.pop(key, None)
        self._loaded.pop(key, None)
        self._touch()

    # --- showing ---------------------------------------------------------------------------------------------

    def table(self, with_defaults: bool = False, censored: bool = True) -> dict[str, Any]:
        """Settings with their values; only those that were set, unless `with_defaults`."""
        names = list(self) if with_defaults else [name for name in self if self.is_set(name)]
        return {name: _censor(name, self[name]) if censored else self[name] for name in names}

    def humanize(self, with_defaults: bool = False, censored: bool = True) -> str:
        """One `name: value` line for each."""
        return "\n".join(f"{name}: {value!r}" for name, value in self.table(with_defaults, censored).items())

    def __repr__(self) -> str:
        return f"<Settings: {', '.join(self.table()) or 'defaults'}>"


def _checked(name: str, value: Any) -> Any:
    if name == "defaults" and value not in ("umbel", "celery"):
        raise ImproperlyConfigured(f"Setting defaults takes 'umbel' or 'celery', not {value!r}")
    setting = SETTINGS.get(name)
    return coerce(setting, value) if setting else value


class _UnknownSetting(KeyError, ImproperlyConfigured):
    """A KeyError for dict-like use, with a text that helps."""

    def __str__(self) -> str:
        return str(self.args[0])


def _censor(name: str, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, Mapping):
        return {key: _censor(str(key), item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_censor(name, item) for item in value)
    if _SECRET_NAME.search(name):
        return "***"
    return hide_password(value) if isinstance(value, str) else value


# --- settings that follow from others ---------------------------------------------------------------------------


def _broker_url(settings: Settings) -> Any:
    given = from_environment().get("broker_url") or settings.plain("broker_url")
    return given or _url_from_parts(settings) or DEFAULT_URL


def _url_from_parts(settings: Settings) -> str | None:
    host = settings.plain("broker_host")
    if not host:
        return None
    if "://" in host:
        return str(host)
    user, password = settings.plain("broker_user"), settings.plain("broker_password")
    credentials = f"{user or ''}{':' + password if password else ''}@" if user or password else ""
    port = settings.plain("broker_port")
    vhost = str(settings.plain("broker_vhost") or "").lstrip("/")
    return f"{settings.plain('broker_transport') or 'amqp'}://{credentials}{host}{f':{port}' if port else ''}/{vhost}"


def _broker_read_url(settings: Settings) -> Any:
    return from_environment().get("broker_read_url") or settings.plain("broker_read_url") or settings["broker_url"]


def _broker_write_url(settings: Settings) -> Any:
    return from_environment().get("broker_write_url") or settings.plain("broker_write_url") or settings["broker_url"]


def _result_backend(settings: Settings) -> Any:
    given = from_environment().get("result_backend") or settings.plain("result_backend")
    broker = settings["broker_write_url"]
    if given is None and isinstance(broker, str) and broker.startswith(_SELF_CONTAINED):
        return broker
    return completed_url(given, settings)


def _broker_options(settings: Settings) -> Any:
    return _with_tls(settings.plain("broker_transport_options"), settings["broker_use_ssl"])


def _result_options(settings: Settings) -> Any:
    by_name, given = store_options(settings), settings.plain("result_backend_transport_options")
    return _with_tls({**by_name, **(given or {})} if by_name else given, settings["redis_backend_use_ssl"])


def _with_tls(options: dict[str, Any] | None, use_ssl: Any) -> dict[str, Any] | None:
    """Transport options with those of `*_use_ssl`, whose names may lack the prefix `ssl_` (as they do for AMQP)."""
    if not use_ssl:
        return options
    given = use_ssl if isinstance(use_ssl, Mapping) else {}
    named = {name if name.startswith("ssl_") else f"ssl_{name}": value for name, value in given.items()}
    return {"ssl": True, **named, **(options or {})}


def _timezone(settings: Settings) -> Any:
    """The name, also where a ZoneInfo was given: only names can be told to other processes."""
    value = settings.plain("timezone")
    return getattr(value, "key", None) or value


def _default_exchange(settings: Settings) -> Any:
    return settings.plain("task_default_exchange") or settings["task_default_queue"]


def _default_routing_key(settings: Settings) -> Any:
    return settings.plain("task_default_routing_key") or settings["task_default_queue"]


def _acks_on_failure(settings: Settings) -> Any:
    value = settings.plain("task_acks_on_failure")
    return settings["task_acks_on_failure_or_timeout"] if value is None else value


def _acks_on_timeout(settings: Settings) -> Any:
    value = settings.plain("task_acks_on_timeout")
    return settings["task_acks_on_failure_or_timeout"] if value is None else value


_COMPUTED: dict[str, Callable[[Settings], Any]] = {
    "broker_url": _broker_url,
    "broker_read_url": _broker_read_url,
    "broker_write_url": _broker_write_url,
    "broker_transport_options": _broker_options,
    "result_backend_transport_options": _result_options,
    "timezone": _timezone,
    "result_backend": _result_backend,
    "task_default_exchange": _default_exchange,
    "task_default_routing_key": _default_routing_key,
    "task_acks_on_failure": _acks_on_failure,
    "task_acks_on_timeout": _acks_on_timeout,
}
