"""Where settings come from: dicts, modules, objects, dotted paths, the environment."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from umbel.config.naming import looks_like_setting, resolve, resolve_strictly
from umbel.exceptions import ImproperlyConfigured

__all__ = ["from_environment", "import_by_name", "read"]

#: Environment variables and the setting each gives. They win over everything else, as in Celery.
_ENVIRONMENT = {
    "UMBEL_BROKER_URL": "broker_url",
    "CELERY_BROKER_URL": "broker_url",
    "UMBEL_BROKER_READ_URL": "broker_read_url",
    "CELERY_BROKER_READ_URL": "broker_read_url",
    "UMBEL_BROKER_WRITE_URL": "broker_write_url",
    "CELERY_BROKER_WRITE_URL": "broker_write_url",
    "UMBEL_RESULT_BACKEND": "result_backend",
    "CELERY_RESULT_BACKEND": "result_backend",
}


def from_environment() -> dict[str, str]:
    """Settings given by environment variables; `UMBEL_*` before `CELERY_*`."""
    found: dict[str, str] = {}
    for variable, name in _ENVIRONMENT.items():
        value = os.environ.get(variable)
        if value:
            found.setdefault(name, value)
    return found


def read(source: Any, namespace: str | None = None, declared: Collection[str] = ()) -> dict[str, Any]:
    """Settings of a dict, module, object or dotted path, by the table's names.

    With `namespace="CELERY"` only names that begin with `CELERY_` count, and all of those must be settings.
    Without one every key of a dict must be a setting; of a module or object the names that are, and any that look
    like one but are not raise ImproperlyConfigured.
    """
    if isinstance(source, str):
        source = import_by_name(source)
    if isinstance(source, Mapping):
        names: dict[str, Any] = dict(source)
        strict = True
    else:
        names = {name: getattr(source, name) for name in dir(source) if not name.startswith("_")}
        strict = False
    if namespace:
        return _read_namespace(names, namespace, declared)
    return _read_names(names, strict, declared)


def _read_namespace(names: Mapping[str, Any], namespace: str, declared: Collection[str]) -> dict[str, Any]:
    prefix = namespace if namespace.endswith("_") else namespace + "_"
    found: dict[str, Any] = {}
    for name, value in names.items():
        if isinstance(name, str) and name.upper().startswith(prefix.upper()):
            key = resolve_strictly(name[len(prefix) :].lower(), declared, shown=name)
            _put(found, key, value, name)
    return found


def _read_names(names: Mapping[str, Any], strict: bool, declared: Collection[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in names.items():
        if strict:
            key: str | None = resolve_strictly(str(name), declared)
        else:
            key = resolve(name, declared)
            if key is None and not _is_definition(value) and looks_like_setting(name):
                key = resolve_strictly(name, declared)
        if key is not None:
            _put(found, key, value, name)
    return found


def _is_definition(value: Any) -> bool:
    """Modules, classes and functions are what a module works with; settings are values."""
    return isinstance(value, (ModuleType, type)) or callable(value)


def _put(found: dict[str, Any], key: str, value: Any, name: str) -> None:
    if key in found and found[key] != value:
        raise ImproperlyConfigured(f"Setting {key} is given twice with different values; one of them as {name}")
    found[key] = value


def import_by_name(path: str) -> Any:
    """The module or attribute that `package.module`, `package.module.attribute` or `package.module:attribute` names.

    Raises ImproperlyConfigured if it is not there; an ImportError inside the module itself passes through.
    """
    module_name, _, attribute = path.partition(":")
    if attribute:
        return _attribute(import_module(module_name), attribute, path)
    try:
        return import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name == error.name or module_name.startswith(error.name + ".")):
            raise
        parent, _, last = module_name.rpartition(".")
        if not parent:
            raise ImproperlyConfigured(
                f"No module named {path!r}; is the folder that holds it on sys.path? "
                f"(The working directory is {Path.cwd()}.)"
            ) from error
    return _attribute(import_module(parent), last, path)


def _attribute(module: ModuleType, dotted: str, path: str) -> Any:
    value: Any = module
    for name in dotted.split("."):
        try:
            value = getattr(value, name)
        except AttributeError:
            raise ImproperlyConfigured(f"{path!r} was looked for, but {value!r} has no {name!r}") from None
    return value
