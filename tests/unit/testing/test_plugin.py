"""The pytest plugin, used as its users do."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

PROJECT = Path(__file__).parents[3]


@pytest.fixture
def run(pytester: pytest.Pytester) -> object:
    """Runs a test file in a process of its own with the plugin; all its tests must pass."""

    def run(code: str, passed: int, conftest: str = "") -> None:
        pytester.makepyfile(code)
        if conftest:
            pytester.makeconftest(conftest)
        # Where the package is installed, pytest finds the plugin by itself.
        announced = any(entry.value == "umbel.testing.plugin" for entry in entry_points(group="pytest11"))
        plugin = [] if announced else ["-p", "umbel.testing.plugin"]
        result = pytester.runpytest_subprocess(*plugin, "-W", "error", "--strict-markers", "-q")
        result.assert_outcomes(passed=passed)

    return run


def test_the_package_announces_the_plugin() -> None:
    text = (PROJECT / "pyproject.toml").read_text()
    assert '[project.entry-points.pytest11]\numbel = "umbel.testing.plugin"\n' in text


def test_loading_the_plugin_loads_no_worker() -> None:
    code = "import sys, umbel.testing.plugin; print([name for name in sys.modules if name.startswith('umbel.worker')])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_app_and_worker(run: object) -> None:
    run(  # type: ignore[operator]
        """
        import pytest
        from umbel import shared_task, current_app

        @shared_task
        def shared(x):
            return x + 1

        def test_a_task_defined_in_the_test(celery_app, celery_worker):
            @celery_app.task
            def mul(x, y):
                return x * y

            celery_worker.reload()
            assert mul.delay(4, 4).get(timeout=10) == 16

        @pytest.mark.usefixtures("depends_on_current_app")
        def test_shared(celery_worker, celery_app):
            assert current_app._get_current_object() is celery_app
            celery_worker.reload()
            assert shared.delay(1).get(timeout=10) == 2

        @pytest.mark.celery(result_backend="cache+memory://", task_default_queue="other")
        def test_settings(celery_app):
            assert celery_app.conf.task_default_queue == "other"
            assert celery_app.conf.result_backend.startswith("memory://")
            assert celery_app.conf.task_time_limit == 7

        def test_apps_are_apart(celery_app):
            assert celery_app.client.queue_length("celery") == 0
            celery_app.send_task("nobody")

        def test_apps_are_still_apart(celery_app):
            assert celery_app.client.queue_length("celery") == 0

        def test_time(celery_app, celery_worker, umbel_clock):
            @celery_app.task
            def due():
                return "now"

            celery_worker.reload()
            result = due.apply_async(countdown=3600)
            umbel_clock.travel(3600)
            assert result.get(timeout=10) == "now"
        """,
        6,
        """
        import pytest

        @pytest.fixture(scope="session")
        def celery_config():
            return {"task_time_limit": 7}

        @pytest.fixture(scope="session")
        def celery_parameters():
            return {"main": "named", "strict_typing": False}

        @pytest.fixture(scope="session")
        def celery_worker_pool():
            return "threads"
        """,
    )


def test_the_sessions_app_and_worker(run: object) -> None:
    run(  # type: ignore[operator]
        """
        import pytest
        from umbel import Task, current_app

        class Shout(Task):
            name = "shout"

            def run(self, text):
                return text.upper()

        @pytest.fixture(scope="session")
        def celery_class_tasks():
            return [Shout]

        @pytest.fixture(scope="session")
        def celery_includes():
            return ["included"]

        def test_class_tasks(celery_session_app, celery_session_worker):
            assert celery_session_app.tasks["shout"].delay("x").get(timeout=10) == "X"

        def test_included(celery_session_app, celery_session_worker):
            assert current_app._get_current_object() is celery_session_app
            assert celery_session_app.tasks["included.here"].delay().get(timeout=10) == "included"
        """,
        2,
        """
        import pathlib
        pathlib.Path("included.py").write_text(
            "from umbel import shared_task\\n@shared_task\\ndef here():\\n    return 'included'\\n"
        )
        import sys
        sys.path.insert(0, ".")
        """,
    )


def test_the_trap(run: object) -> None:
    run(  # type: ignore[operator]
        """
        import pytest
        from umbel import current_app

        @pytest.fixture(scope="session")
        def use_celery_app_trap():
            return True

        def test_the_current_app_is_not_to_be_used(celery_app):
            with pytest.raises(RuntimeError, match="depends on the current application"):
                current_app.conf

        def test_afterwards_it_is_as_before():
            assert current_app.main == "default"
        """,
        2,
    )


def test_no_worker(run: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_WORKER", "1")
    run("def test_none(celery_worker):\n    assert celery_worker is None\n", 1)  # type: ignore[operator]


def test_reloading_a_worker_that_does_not_run() -> None:
    from umbel import Umbel
    from umbel.worker.worker import Worker

    with pytest.raises(RuntimeError, match="Only a worker that runs its tasks in this process"):
        Worker(Umbel("x", set_as_current=False)).reload()
