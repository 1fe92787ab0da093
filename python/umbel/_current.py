"""The one home of ambient state: the current application, the running task, shared tasks.

Everything else in umbel is handed what it needs. Applications are kept weakly here.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from umbel._interfaces import AppInterface, RequestInterface

__all__ = [
    "Proxy",
    "all_apps",
    "announce_app",
    "current_app",
    "current_request",
    "current_task",
    "current_worker_request",
    "joining_allowed",
    "pop_request",
    "push_request",
    "register_app",
    "replaced_apps",
    "set_app_factory",
    "set_current_app",
    "set_default_app",
    "share",
]

T = TypeVar("T")

_local = threading.local()
_default_app: AppInterface | None = None
_app_factory: Callable[[], AppInterface] | None = None
_apps: weakref.WeakSet[AppInterface] = weakref.WeakSet()
#: What `@shared_task` gave us: called with every application as it is finalized.
_shared: list[Callable[[Any], object]] = []

#: The innermost running request of this thread or asyncio task.
_request: ContextVar[RequestInterface | None] = ContextVar("umbel_request", default=None)
#: Whether waiting for results is allowed here; None: unless a worker runs a task here.
joining_allowed: ContextVar[bool | None] = ContextVar("umbel_joining_allowed", default=None)


# --- applications


def set_app_factory(factory: Callable[[], AppInterface]) -> None:
    """How to make the default application when none exists; the `app` package says so on import."""
    global _app_factory
    _app_factory = factory


def register_app(app: AppInterface) -> None:
    """Remembers an application, weakly."""
    _apps.add(app)


def all_apps() -> list[AppInterface]:
    """Applications alive in this process, in no order."""
    return list(_apps)


def set_current_app(app: AppInterface) -> None:
    """Makes `app` the current one of this thread, and the default one where no thread said otherwise."""
    global _default_app
    _local.app = app
    if _default_app is None:
        _default_app = app


def set_default_app(app: AppInterface) -> None:
    """Makes `app` the one used by threads that have no current one."""
    global _default_app
    _default_app = app


@contextmanager
def replaced_apps(app: Any) -> Iterator[None]:
    """Inside, `app` (None: none) is current in this thread and the default; for tests."""
    global _default_app
    former, former_default = getattr(_local, "app", None), _default_app
    if app is not None:
        _local.app = _default_app = app
    try:
        yield
    finally:
        _local.app, _default_app = former, former_default


def current_app() -> AppInterface:
    """The current application; a default one is made when there is none."""
    app: AppInterface | None = getattr(_local, "app", None) or _default_app
    if app is None:
        if _app_factory is None:
            raise RuntimeError("No application: create one with umbel.Umbel(...)")
        app = _app_factory()
        set_default_app(app)
    return app


def share(construct: Callable[[Any], object]) -> None:
    """Calls `construct` with every finalized application, present and future."""
    _shared.append(construct)
    for app in all_apps():
        if app.finalized:
            construct(app)


def announce_app(app: AppInterface) -> None:
    """Gives a finalized application its shared tasks."""
    for construct in list(_shared):
        construct(app)


# --- requests


def push_request(request: RequestInterface) -> Token[RequestInterface | None]:
    """Makes `request` the running one; `pop_request` with the returned token undoes it."""
    return _request.set(request)


def pop_request(token: Token[RequestInterface | None]) -> None:
    """Undoes `push_request`."""
    _request.reset(token)


def current_request() -> RequestInterface | None:
    """The innermost running request, direct calls of task functions included."""
    return _request.get()


def current_worker_request() -> RequestInterface | None:
    """The innermost request that came as a message or by `apply`; direct calls are looked through."""
    request = _request.get()
    while request is not None and request.called_directly:
        request = request.outer
    return request


def current_task() -> Any:
    """The task that runs here and now, or None."""
    request = _request.get()
    return None if request is None else request.task_object


# --- proxies


class Proxy(Generic[T]):
    """Stands for what a function returns at each use. Attribute access, calls and comparison pass through."""

    __slots__ = ("__weakref__", "_resolve")

    _resolve: Callable[[], T]

    def __init__(self, resolve: Callable[[], T]) -> None:
        object.__setattr__(self, "_resolve", resolve)

    def _get_current_object(self) -> T:
        return self._resolve()

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return type(self._resolve())

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        return self._resolve().__dict__

    @property
    def __doc__(self) -> Any:  # type: ignore[override]
        return self._resolve().__doc__

    @property
    def __wrapped__(self) -> Any:
        return self._resolve().__wrapped__  # type: ignore[attr-defined]

    @property
    def __name__(self) -> Any:
        return self._resolve().__name__  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._resolve(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._resolve(), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._resolve(), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._resolve()(*args, **kwargs)  # type: ignore[operator]

    def __repr__(self) -> str:
        return repr(self._resolve())

    def __str__(self) -> str:
        return str(self._resolve())

    def __bool__(self) -> bool:
        return bool(self._resolve())

    def __eq__(self, other: object) -> bool:
        return self._resolve() == (other._get_current_object() if type(other) is Proxy else other)

    def __hash__(self) -> int:
        return hash(self._resolve())

    def __dir__(self) -> list[str]:
        return dir(self._resolve())

    def __reduce__(self) -> Any:
        return self._resolve().__reduce__()
