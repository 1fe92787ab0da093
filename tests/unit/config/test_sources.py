"""Where settings are read from."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from umbel.config.sources import from_environment, import_by_name, read
from umbel.exceptions import ImproperlyConfigured


def test_a_dict_may_use_new_and_old_names() -> None:
    found = read({"task_acks_late": True, "CELERY_TASK_SERIALIZER": "yaml", "BROKER_URL": "redis://"})
    assert found == {"task_acks_late": True, "task_serializer": "yaml", "broker_url": "redis://"}


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [("task_ack_late", "task_acks_late"), ("borker_url", "broker_url"), ("always_eager", "task_always_eager")],
)
def test_an_unknown_name_in_a_dict_is_an_error_with_the_nearest(wrong: str, nearest: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"'{wrong}'.*{nearest}"):
        read({wrong: 1})


def test_a_module_may_hold_other_things() -> None:
    module = ModuleType("celeryconfig")
    exec(
        "import os\nfrom datetime import timedelta\nBASE = '/srv'\ndef helper(): ...\nresult_expires = 5", vars(module)
    )
    assert read(module) == {"result_expires": 5}


def test_a_typo_in_a_module_is_an_error() -> None:
    with pytest.raises(ImproperlyConfigured, match="task_serializer"):
        read(SimpleNamespace(task_serialiser="json"))


def test_namespace() -> None:
    source = SimpleNamespace(CELERY_BROKER_URL="redis://", DEBUG=True, CELERY_TASK_ACKS_LATE=False)
    assert read(source, namespace="CELERY") == {"broker_url": "redis://", "task_acks_late": False}


def test_everything_in_a_namespace_must_be_a_setting() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"'CELERY_BROKR_URL'.*broker_url"):
        read(SimpleNamespace(CELERY_BROKR_URL="redis://"), namespace="CELERY")


def test_one_setting_under_two_names() -> None:
    with pytest.raises(ImproperlyConfigured, match="task_serializer is given twice"):
        read({"task_serializer": "json", "CELERY_TASK_SERIALIZER": "yaml"})
    assert read({"task_serializer": "json", "CELERY_TASK_SERIALIZER": "json"}) == {"task_serializer": "json"}


def test_dotted_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conf_of_test.py").write_text("class Config:\n    task_acks_late = False\n")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        assert read("conf_of_test:Config") == {"task_acks_late": False}
        assert read("conf_of_test.Config") == {"task_acks_late": False}
    finally:
        sys.modules.pop("conf_of_test", None)


def test_a_module_that_is_not_there_says_where_was_looked() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"no_such_module.*sys\.path"):
        import_by_name("no_such_module")
    with pytest.raises(ImproperlyConfigured, match="no_such_attribute"):
        import_by_name("umbel.config.no_such_attribute")


def test_an_error_inside_the_module_passes_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_conf_of_test.py").write_text("import a_module_nobody_has\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_module_nobody_has"):
        import_by_name("broken_conf_of_test")


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://celery")
    monkeypatch.setenv("UMBEL_BROKER_URL", "redis://umbel")
    monkeypatch.setenv("CELERY_RESULT_BACKEND", "redis://results")
    found = from_environment()
    assert found["broker_url"] == "redis://umbel"
    assert found["result_backend"] == "redis://results"
