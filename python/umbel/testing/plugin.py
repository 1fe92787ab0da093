"""The pytest plugin: Celery's fixtures, and some of our own.

Celery's: `celery_app`, `celery_worker`, `celery_session_app`, `celery_session_worker`, and those to be overridden:
`celery_config`, `celery_parameters`, `celery_enable_logging`, `celery_includes`, `celery_worker_pool`,
`celery_worker_parameters`, `celery_class_tasks`, `use_celery_app_trap`; `depends_on_current_app`; the marker
`@pytest.mark.celery(**settings)`. Without other settings the application lives in memory, a world of its own.

Ours: `umbel_clock`, time that can be moved.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from umbel.app import Umbel
    from umbel.testing.clock import MovedClock
    from umbel.worker.worker import Worker

#: As Celery's: fixtures start no worker.
_NO_WORKER = "NO_WORKER"
_CELERYS_MEMORY = ("cache+memory://", "cache+memory")


def pytest_configure(config: pytest.Config) -> None:
    """Declares the marker."""
    config.addinivalue_line("markers", "celery(**overrides): settings of the application of this test")


# --- to be overridden


@pytest.fixture(scope="session")
def celery_config() -> Mapping[str, Any]:
    """Settings of the test application."""
    return {}


@pytest.fixture(scope="session")
def celery_parameters() -> Mapping[str, Any]:
    """Arguments of the test application's class."""
    return {}


@pytest.fixture(scope="session")
def celery_enable_logging() -> bool:
    """Whether workers may set up logging. Umbel's leave it alone either way."""
    return False


@pytest.fixture(scope="session")
def celery_includes() -> Sequence[str]:
    """Modules to import before a worker starts."""
    return ()


@pytest.fixture(scope="session")
def celery_class_tasks() -> Sequence[Any]:
    """Task classes to register before the session's worker starts."""
    return ()


@pytest.fixture(scope="session")
def celery_worker_pool() -> str:
    """`solo` or `threads`: how workers run tasks."""
    return "solo"


@pytest.fixture(scope="session")
def celery_worker_parameters() -> Mapping[str, Any]:
    """Arguments of `umbel.testing.start_worker`, such as `queues`."""
    return {}


@pytest.fixture(scope="session")
def use_celery_app_trap() -> bool:
    """Whether use of the current application is an error: tests are to use the one they are given."""
    return False


# --- applications


@pytest.fixture
def celery_app(
    request: pytest.FixtureRequest,
    celery_config: Mapping[str, Any],
    celery_parameters: Mapping[str, Any],
    celery_enable_logging: bool,
    use_celery_app_trap: bool,
) -> Iterator[Umbel]:
    """An application for one test."""
    with _application(request, celery_config, celery_parameters, use_celery_app_trap) as app:
        yield app


@pytest.fixture(scope="session")
def celery_session_app(
    request: pytest.FixtureRequest,
    celery_config: Mapping[str, Any],
    celery_parameters: Mapping[str, Any],
    celery_enable_logging: bool,
    use_celery_app_trap: bool,
) -> Iterator[Umbel]:
    """An application for all tests, the current and default one."""
    with _application(request, celery_config, celery_parameters, use_celery_app_trap) as app:
        if not use_celery_app_trap:
            app.set_default()
            app.set_current()
        yield app


@pytest.fixture
def depends_on_current_app(celery_app: Umbel) -> None:
    """Makes the test's application the current one."""
    celery_app.set_current()


@contextlib.contextmanager
def _application(
    request: pytest.FixtureRequest, config: Mapping[str, Any], parameters: Mapping[str, Any], trap: bool
) -> Iterator[Umbel]:
    from umbel import _current
    from umbel.app import Umbel

    mark = request.node.get_closest_marker("celery")
    url = f"memory://test-{uuid.uuid4().hex}"
    settings = {"broker_url": url, "result_backend": url, **config, **(mark.kwargs if mark else {})}
    if settings["result_backend"] in _CELERYS_MEMORY:
        settings["result_backend"] = url
    parameters = dict(parameters)
    name = parameters.pop("main", "celery.tests")
    with _current.replaced_apps(_Trap() if trap else None):
        app = Umbel(name, set_as_current=False, changes=settings, **parameters)
        try:
            yield app
        finally:
            app.close()


class _Trap:
    """In place of the current application."""

    def __getattr__(self, name: str) -> Any:
        # Looked at by libraries that only wonder what kind of thing this is.
        if name in ("_is_coroutine", "__func__"):
            raise AttributeError(name)
        raise RuntimeError("The test depends on the current application: use the fixture `celery_app`")


# --- workers


@pytest.fixture
def celery_worker(
    celery_app: Umbel,
    celery_includes: Sequence[str],
    celery_worker_pool: str,
    celery_worker_parameters: Mapping[str, Any],
) -> Iterator[Worker | None]:
    """A worker for one test, in a thread. After tasks have been defined, `celery_worker.reload()` tells it."""
    with _worker(celery_app, celery_includes, (), celery_worker_pool, celery_worker_parameters) as worker:
        yield worker


@pytest.fixture(scope="session")
def celery_session_worker(
    celery_session_app: Umbel,
    celery_includes: Sequence[str],
    celery_class_tasks: Sequence[Any],
    celery_worker_pool: str,
    celery_worker_parameters: Mapping[str, Any],
) -> Iterator[Worker | None]:
    """A worker for all tests, in a thread."""
    chosen = (celery_includes, celery_class_tasks, celery_worker_pool, celery_worker_parameters)
    with _worker(celery_session_app, *chosen) as worker:
        yield worker


@contextlib.contextmanager
def _worker(
    app: Umbel, includes: Sequence[str], class_tasks: Sequence[Any], pool: str, parameters: Mapping[str, Any]
) -> Iterator[Worker | None]:
    from umbel.testing.worker import start_worker

    for name in includes:
        import_module(name)
    for task in class_tasks:
        app.register_task(task)
    if os.environ.get(_NO_WORKER):
        yield None
        return
    chosen: Any = {"pool": pool, **parameters}
    with start_worker(app, **chosen) as worker:
        yield worker


# --- ours


@pytest.fixture
def umbel_clock() -> Iterator[MovedClock]:
    """Time that can be moved: `umbel_clock.travel(3600)`."""
    from umbel.testing.clock import moved_clock

    with moved_clock() as clock:
        yield clock
