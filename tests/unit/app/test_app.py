"""The application: tasks, names, settings, life."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
import uuid
import warnings
from collections.abc import Iterator
from datetime import timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

import umbel
from umbel import Celery, Task, Umbel, _current, current_app, current_task, shared_task, signals
from umbel.exceptions import (
    AlwaysEagerIgnored,
    DuplicateTaskNameWarning,
    ImproperlyConfigured,
    NotRegistered,
    OperationalError,
)


@pytest.fixture
def app() -> Iterator[Umbel]:
    with Umbel("proj", broker=f"memory://{uuid.uuid4()}") as app:
        yield app


def test_celery_is_the_same_class() -> None:
    assert Celery is Umbel


def test_import_is_quick_and_quiet() -> None:
    """No thread, and none of the slow modules that only some programs need."""
    slow = ["asyncio", "concurrent.futures", "difflib", "email", "http", "multiprocessing", "yaml", "msgpack", "kombu"]
    script = (
        "import sys, threading, umbel\n"
        "app = umbel.Umbel('x')\n"
        f"print(threading.active_count(), [name for name in {slow!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "1 []\n"


# --- tasks


def test_a_task_is_still_a_function(app: Umbel) -> None:
    @app.task
    def add(x: int, y: int) -> int:
        """Adds."""
        return x + y

    assert add(2, 3) == 5
    assert (add.__name__, add.__doc__, add.__module__) == ("add", "Adds.", __name__)
    assert add.name == f"{__name__}.add"
    assert add.app is app
    assert repr(add) == f"<@task: {__name__}.add of proj>"


@pytest.mark.parametrize(
    ("main", "module", "expected"),
    [("proj", "pkg.tasks", "pkg.tasks.f"), ("proj", "__main__", "proj.f"), (None, "__main__", "__main__.f")],
)
def test_names(main: str | None, module: str, expected: str) -> None:
    assert Umbel(main, set_as_current=False).gen_task_name("f", module) == expected


def test_options_and_bind(app: Umbel) -> None:
    @app.task(name="named", bind=True, max_retries=7, acks_late=False)
    def bound(self: Task[..., Any], x: int) -> tuple[str, int]:
        return self.name, x

    assert bound(3) == ("named", 3)
    assert (bound.max_retries, bound.acks_late) == (7, False)
    assert app.tasks["named"] is bound


def test_options_come_from_settings_until_given(app: Umbel) -> None:
    @app.task
    def plain() -> None: ...

    @app.task(acks_late=None, serializer="yaml")
    def some() -> None: ...

    class Strict(Task):  # type: ignore[type-arg]
        acks_late = False
        serializer = None  # type: ignore[assignment]

    @app.task(base=Strict, name="strict")
    def strict() -> None: ...

    assert (plain.acks_late, some.acks_late, strict.acks_late) == (True, True, False)
    assert (plain.serializer, some.serializer, strict.serializer) == ("json", "yaml", "json")
    app.conf.update(task_acks_late=False, task_serializer="msgpack")
    assert (plain.acks_late, some.serializer, strict.serializer) == (False, "yaml", "msgpack")


def test_the_joint_acks_option_of_a_task(app: Umbel) -> None:
    @app.task(acks_on_failure_or_timeout=False)
    def joint() -> None: ...

    @app.task(acks_on_failure_or_timeout=False, acks_on_failure=True)
    def both() -> None: ...

    assert (joint.acks_on_failure, joint.acks_on_timeout) == (False, False)
    assert (both.acks_on_failure, both.acks_on_timeout) == (True, False)


def test_the_base_class_of_an_application(app: Umbel) -> None:
    class Base(Task):  # type: ignore[type-arg]
        label = "based"

    app.Task = Base

    @app.task
    def one() -> None: ...

    assert isinstance(one, Base)
    assert one.label == "based"
    other = Umbel("other", task_cls=f"{__name__}:ImportedBase", set_as_current=False)
    assert issubclass(other.Task, ImportedBase)


class ImportedBase(Task):  # type: ignore[type-arg]
    pass


def test_a_subclass_names_its_base_of_tasks_and_hears_of_its_making() -> None:
    class Application(Umbel):
        task_cls = f"{__name__}:ImportedBase"

        def on_init(self) -> None:
            self.conf.task_default_queue = f"made-for-{self.main}"

    one = Application("one", set_as_current=False)
    assert issubclass(one.Task, ImportedBase)
    assert one.conf.task_default_queue == "made-for-one"
    assert Application("two", task_cls=Task, set_as_current=False).task_cls is Task


def test_class_based_tasks(app: Umbel) -> None:
    class Adder(app.Task):  # type: ignore[name-defined, misc]
        def run(self, x: int, y: int) -> int:
            return x + y

    adder = app.register_task(Adder())
    assert adder.name == f"{__name__}.Adder"
    assert app.tasks[adder.name] is adder
    assert adder(1, 2) == 3
    with pytest.raises(TypeError, match="missing"):
        adder.delay(1)


def test_two_functions_of_one_name(app: Umbel) -> None:
    def one() -> None: ...

    def two() -> None: ...

    first = app.task(name="same")(one)
    with pytest.warns(DuplicateTaskNameWarning, match="same"):
        assert app.task(name="same")(two) is first
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert app.task(name="same")(one) is first


def test_unknown_tasks(app: Umbel) -> None:
    with pytest.raises(NotRegistered, match="nobody"):
        app.tasks["nobody"]
    assert app.tasks.get("nobody") is None
    app.tasks.unregister("celery.map")
    assert "celery.map" not in app.tasks


def test_tasks_pickle_by_name(app: Umbel) -> None:
    @app.task(name="pickled")
    def pickled() -> None: ...

    app.set_current()
    assert pickle.loads(pickle.dumps(pickled)) is pickled


def test_annotations() -> None:
    app = Umbel("proj", task_annotations={"*": {"max_retries": 9}, "one": {"acks_late": False}}, set_as_current=False)
    one, two = app.task(name="one")(lambda: None), app.task(name="two")(lambda: None)
    app.finalize()
    assert (one.max_retries, one.acks_late) == (9, False)
    assert (two.max_retries, two.acks_late) == (9, True)


def test_autofinalize_off() -> None:
    app = Umbel("proj", autofinalize=False, set_as_current=False)
    with pytest.raises(RuntimeError, match="finalize"):
        _ = app.tasks
    app.finalize()
    assert "celery.backend_cleanup" in app.tasks


def test_signals_of_finalization() -> None:
    app = Umbel("proj", set_as_current=False)
    seen: list[str] = []
    app.on_after_configure.connect(lambda **_: seen.append("configured"), weak=False)
    app.on_after_finalize.connect(lambda **_: seen.append("finalized"), weak=False)
    app.finalize()
    app.finalize()
    assert seen == ["configured", "finalized"]


# --- shared tasks


def test_shared_tasks_belong_to_whichever_is_current() -> None:
    before = Umbel("before")
    before.finalize()

    @shared_task(name="shared.add")
    def add(x: int, y: int) -> int:
        return x + y

    after = Umbel("after")
    assert "shared.add" in before.tasks
    assert "shared.add" in after.tasks
    assert add.app is after
    before.set_current()
    assert add.app is before
    assert add(1, 2) == 3
    assert add == before.tasks["shared.add"]
    after.set_current()


# --- the current application


def test_current_app_and_task(app: Umbel) -> None:
    assert current_app == app
    assert current_app.main == "proj"
    assert not current_task
    seen: list[str] = []

    @app.task(name="looks")
    def looks() -> None:
        seen.append(current_task.name)
        assert app.current_task is looks

    looks()
    assert seen == ["looks"]
    assert app.current_task is None


def test_other_threads_use_the_default(app: Umbel) -> None:
    default = Umbel("default", set_as_current=False)
    kept = _current._default_app
    default.set_default()
    found: list[Any] = []
    try:
        thread = threading.Thread(target=lambda: found.append(_current.current_app()))
        thread.start()
        thread.join()
    finally:
        _current._default_app = kept
    assert found == [default]
    assert _current.current_app() is app


# --- settings


def test_config_from_object_and_envvar(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "settings_of_test.py").write_text("CELERY_TASK_SERIALIZER = 'yaml'\n")
    monkeypatch.syspath_prepend(tmp_path)
    app = Umbel("proj", set_as_current=False)
    app.config_from_object("settings_of_test", namespace="CELERY")
    assert app.conf.task_serializer == "yaml"
    with pytest.raises(ImproperlyConfigured, match="NO_SUCH_VARIABLE"):
        app.config_from_envvar("NO_SUCH_VARIABLE")
    app.config_from_envvar("NO_SUCH_VARIABLE", silent=True)
    monkeypatch.setenv("CONFIG_OF_TEST", "settings_of_test")
    app.config_from_envvar("CONFIG_OF_TEST", force=True)
    app.config_from_object("no_such_module", silent=True)
    assert app.conf.task_serializer == "yaml"


def test_constructor_settings() -> None:
    app = Umbel(
        "proj", broker="redis://h", backend="redis://b", include=["a"], task_serializer="yaml", set_as_current=False
    )
    assert (app.conf.broker_url, app.conf.result_backend, app.conf.include) == ("redis://h", "redis://b", ("a",))
    assert app.conf.task_serializer == "yaml"
    with pytest.raises(ImproperlyConfigured, match="broker_url"):
        Umbel("proj", broker_ulr="redis://h", set_as_current=False)


def test_time_zones() -> None:
    def of(**settings: Any) -> Any:
        return Umbel("proj", set_as_current=False, **settings).timezone

    assert of() is timezone.utc
    assert of(timezone="UTC") is timezone.utc
    assert of(timezone="Europe/Oslo") == ZoneInfo("Europe/Oslo")
    assert repr(of(enable_utc=False)) == "<LocalTimezone>"
    with pytest.raises(ImproperlyConfigured, match="Europe/Olso"):
        of(timezone="Europe/Olso")


def test_autodiscovery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package, body in (("disco_one", "FOUND = True\n"), ("disco_two", None), ("disco_three", "import nobody_has\n")):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
        if body is not None:
            (tmp_path / package / "tasks.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    app = Umbel("proj", set_as_current=False)
    app.autodiscover_tasks(["disco_one", "disco_two"])
    assert "disco_one.tasks" not in sys.modules
    app.import_default_modules()
    assert sys.modules["disco_one.tasks"].FOUND
    app.autodiscover_tasks(lambda: ["disco_three"])
    with pytest.raises(ModuleNotFoundError, match="nobody_has"):
        app.import_default_modules()
    signals.import_modules.receivers = tuple(
        connection for connection in signals.import_modules.receivers if connection.sender is not app
    )


# --- sending


def test_eager_setting_and_send_task(app: Umbel) -> None:
    app.conf.task_always_eager = True
    with pytest.warns(AlwaysEagerIgnored):
        result = app.send_task("unknown.task", (1,))
    assert app.client.queue_length("celery") == 1
    assert not result.ready()


def test_a_broker_that_is_not_there_is_an_error_in_time() -> None:
    app = Umbel("proj", broker="redis://127.0.0.1:1/0", broker_connection_timeout=0.2, set_as_current=False)
    task = app.task(name="lost")(lambda: None)
    with pytest.raises(OperationalError) as caught:
        task.apply_async(retry=False)
    assert "127.0.0.1:1" in str(caught.value)
    with pytest.raises(NotImplementedError, match="result_backend"):
        _ = app.AsyncResult("x").state


def test_a_broker_nobody_knows() -> None:
    app = Umbel("proj", broker="carrier-pigeon://h", set_as_current=False)
    with pytest.raises(ImproperlyConfigured, match="carrier-pigeon"):
        app.task(name="lost")(lambda: None).delay()


def test_settings_changed_after_the_first_use(app: Umbel) -> None:
    task = app.task(name="moves")(lambda: None)
    task.delay()
    app.conf.task_routes = {"moves": "elsewhere"}
    task.delay()
    task.priority = 3
    assert app.sender.prepare("moves", (), {}, {}, task).message["properties"]["priority"] == 3
    assert (app.client.queue_length("celery"), app.client.queue_length("elsewhere")) == (1, 1)


def test_version() -> None:
    assert umbel.__version__
