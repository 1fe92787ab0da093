"""Finds the application that `-A` names.

`proj` (attributes `app`, `celery`, then the module `proj.celery`, then any application in it), `proj.tasks`,
`proj:app` and `proj.attribute` all work. What cannot be found raises `AppNotFoundError`, which says what was tried and
what is near.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import pkgutil
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from umbel.app import Umbel

ATTRIBUTES = ("app", "celery")
SUBMODULES = ("celery", "umbel")
# Modules that often hold an application; offered when no -A was given.
USUAL_MODULES = ("celeryapp", "celery_app", "app", "tasks", "main")


class AppNotFoundError(Exception):
    """No application where `-A` points. `hint` says what to do; `detail` is a traceback of the user's own module."""

    def __init__(self, message: str, hint: str = "", detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.detail = detail


def add_working_directory(directory: str | None = None) -> None:
    """Puts the working directory (after changing to `directory`, if given) first on the import path."""
    if directory:
        os.chdir(directory)
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)


def find_app(path: str) -> Umbel:
    """The application at `path`.

    Raises:
        AppNotFoundError: With what was tried.
    """
    path = path.strip()
    if path.endswith(".py") and Path(path).is_file():
        raise AppNotFoundError(
            f"-A takes a module name, not a file: {path!r}",
            f"Use -A {_module_name_of(path)}",
        )
    if ":" in path:
        module_name, _, attribute = path.partition(":")
        return _named_attribute(import_user_module(module_name), module_name, attribute)
    parent, _, attribute = path.rpartition(".")
    if parent and not _module_exists(path):
        module = import_user_module(parent, wanted=path)
        if hasattr(module, attribute):
            return _named_attribute(module, parent, attribute)
        raise _missing_module(path)
    return _search_module(import_user_module(path), path)


def suggest_module() -> str | None:
    """A module of the working directory that likely holds an application, for the hint when no -A was given."""
    for name in USUAL_MODULES:
        if Path(f"{name}.py").is_file():
            return name
    for init in sorted(Path().glob("*/celery.py")):
        if (init.parent / "__init__.py").is_file():
            return init.parent.name
    return None


def _search_module(module: ModuleType, path: str) -> Umbel:
    tried: list[str] = []
    for name in ATTRIBUTES:
        found = getattr(module, name, None)
        if _is_app(found):
            return _checked(found)
        tried.append(f"{path}:{name}")
    if hasattr(module, "__path__"):
        for name in SUBMODULES:
            tried.append(f"{path}.{name}")
            if _module_exists(f"{path}.{name}"):
                return _search_module(import_user_module(f"{path}.{name}"), f"{path}.{name}")
    apps = {id(value): value for value in vars(module).values() if _is_app(value)}
    if len(apps) == 1:
        return _checked(next(iter(apps.values())))
    if apps:
        names = sorted(name for name, value in vars(module).items() if _is_app(value))
        raise AppNotFoundError(
            f"module {path!r} holds {len(apps)} applications: {', '.join(names)}",
            f"Name one: -A {path}:{names[0]}",
        )
    raise AppNotFoundError(
        f"no Umbel application in module {path!r} (tried {', '.join(tried)} and every attribute)",
        f"Create one there: app = Umbel({path!r}), or name it: -A {path}:NAME",
    )


def _named_attribute(module: ModuleType, module_name: str, attribute: str) -> Umbel:
    if not attribute:
        return _search_module(module, module_name)
    found: object = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            near = difflib.get_close_matches(part, [name for name in dir(found) if not name.startswith("__")], n=1)
            raise AppNotFoundError(
                f"module {module_name!r} has no attribute {attribute!r}",
                f"Did you mean -A {module_name}:{near[0]}?"
                if near
                else f"Name one of its attributes: -A {module_name}:app",
            )
        found = getattr(found, part)
    if isinstance(found, ModuleType):
        return _search_module(found, f"{module_name}.{attribute}")
    if not _is_app(found):
        raise AppNotFoundError(
            f"{module_name}:{attribute} is a {type(found).__name__}, not an Umbel application",
            f"Name the attribute that holds it: -A {module_name}:app",
        )
    return _checked(found)


def _is_app(value: object) -> bool:
    from umbel.app import Umbel

    return isinstance(value, Umbel)


def _checked(value: object) -> Umbel:
    from umbel.app import Umbel

    assert isinstance(value, Umbel)
    return value


def import_user_module(name: str, wanted: str | None = None) -> ModuleType:
    """Imports a module of the user's; `wanted` is what was asked for, when it is a part of that.

    Raises:
        AppNotFoundError: It is missing, or its code fails.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing == name or name.startswith(f"{missing}."):
            raise _missing_module(wanted or name) from None
        raise broken_module(name, error) from error
    except ImportError as error:
        raise broken_module(name, error) from error
    except SystemExit as error:
        raise AppNotFoundError(
            f"module {name!r} ended the program while it was imported (exit status {error.code!r})",
            'Put what runs it under: if __name__ == "__main__":',
        ) from error
    except Exception as error:
        raise broken_module(name, error) from error


def broken_module(name: str, error: BaseException) -> AppNotFoundError:
    """What to raise when importing the user's module failed with `error`."""
    hint = f"The error is in your code: try python -c 'import {name}'"
    if isinstance(error, ModuleNotFoundError) and error.name:
        hint = f"Is {error.name.partition('.')[0]!r} installed for {sys.executable}?"
    return AppNotFoundError(
        f"importing {name!r} failed: {type(error).__name__}: {error}", hint, detail=_traceback_of_user_code(error)
    )


def _traceback_of_user_code(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    user = [frame for frame in frames if frame.filename != __file__ and "importlib" not in frame.filename]
    lines = ["Traceback (most recent call last):\n", *traceback.format_list(user)]
    return "".join(lines + traceback.format_exception_only(type(error), error)).rstrip()


def _missing_module(path: str) -> AppNotFoundError:
    near = _nearest_module(path)
    where = Path.cwd()
    hint = f"Did you mean -A {near}?" if near else f"Run it where the module is, or use --workdir (now: {where})"
    return AppNotFoundError(f"no module named {path!r} (looked in {where} and the Python path)", hint)


def _nearest_module(path: str) -> str | None:
    """The name of an existing module that `path` may be a slip of, part by part."""
    found: list[str] = []
    search = [str(Path.cwd()), *(entry for entry in sys.path if entry and "-packages" not in entry)]
    for part in path.split("."):
        match = next(filter(None, (_nearest_name(part, [entry]) for entry in search)), None)
        if match is None:
            return None
        found.append(match)
        search = [str(Path(entry) / match) for entry in search if (Path(entry) / match).is_dir()]
    return ".".join(found)


def _nearest_name(name: str, search: list[str]) -> str | None:
    names = sorted({module.name for module in pkgutil.iter_modules(search)})
    if name in names:
        return name
    return next(iter(difflib.get_close_matches(name, names, n=1, cutoff=0.7)), None)


def _module_exists(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError, AttributeError):
        return False
    except Exception:
        # Importing the parent package failed in its own code: importing it again tells how.
        return True


def _module_name_of(path: str) -> str:
    relative = Path(path)
    return ".".join((*relative.parts[:-1], relative.stem))
