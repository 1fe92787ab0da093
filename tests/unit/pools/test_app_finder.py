"""What -A finds, and what it says when it finds nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from umbel.pools.app_finder import AppNotFoundError, add_working_directory, find_app, suggest_module

FILES = {
    "plain.py": "from umbel import Umbel\napp = Umbel('plain')\n",
    "other_name.py": "from umbel import Umbel\ncelery = Umbel('other')\n",
    "lonely.py": "from umbel import Umbel\nqueue = Umbel('lonely')\n",
    "twins.py": "from umbel import Umbel\none = Umbel('one')\ntwo = Umbel('two')\n",
    "empty.py": "x = 1\n",
    "broken.py": "def f():\n    raise ValueError('no such luck')\nf()\n",
    "needs.py": "import surely_not_installed\n",
    "quits.py": "import sys\nsys.exit(3)\n",
    "package/__init__.py": "",
    "package/celery.py": "from umbel import Umbel\napp = Umbel('package')\n",
    "package/tasks.py": "from package.celery import app\n",
    "cute/__init__.py": "from cute.app import app\n",
    "cute/app.py": "from umbel import Umbel\napp = Umbel('cute')\n",
}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(dedent(text))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    add_working_directory()
    yield
    for name in set(sys.modules) - before:
        if not name.startswith("umbel"):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("path", "main"),
    [
        ("plain", "plain"),
        ("plain:app", "plain"),
        ("plain.app", "plain"),
        ("plain:", "plain"),
        ("other_name", "other"),
        ("lonely", "lonely"),
        ("lonely:queue", "lonely"),
        ("twins:two", "two"),
        ("package", "package"),
        ("package.celery", "package"),
        ("package.tasks", "package"),
        ("cute", "cute"),
        ("cute.app", "cute"),
        ("cute:app", "cute"),
    ],
)
def test_found(path: str, main: str) -> None:
    assert find_app(path).main == main


@pytest.mark.parametrize(
    ("path", "message", "hint"),
    [
        ("plane", "no module named 'plane'", "Did you mean -A plain?"),
        ("pakcage.tasks", "no module named 'pakcage.tasks'", "Did you mean -A package.tasks?"),
        ("package.taks", "no module named 'package.taks'", "Did you mean -A package.tasks?"),
        ("zzzzzz", "no module named 'zzzzzz'", "--workdir"),
        ("plain.py", "takes a module name", "-A plain"),
        ("plain:ap", "has no attribute 'ap'", "Did you mean -A plain:app?"),
        ("empty", "no Umbel application in module 'empty' (tried empty:app, empty:celery", "app = Umbel('empty')"),
        ("empty:x", "is a int, not an Umbel application", "-A empty:app"),
        ("twins", "holds 2 applications: one, two", "-A twins:one"),
        ("broken", "ValueError: no such luck", "in your code"),
        ("needs", "No module named 'surely_not_installed'", "Is 'surely_not_installed' installed"),
        ("quits", "ended the program while it was imported (exit status 3)", "__main__"),
    ],
)
def test_not_found(path: str, message: str, hint: str) -> None:
    with pytest.raises(AppNotFoundError) as caught:
        find_app(path)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_the_traceback_is_the_user_s() -> None:
    with pytest.raises(AppNotFoundError) as caught:
        find_app("broken")
    assert "broken.py" in caught.value.detail
    assert "app_finder" not in caught.value.detail


def test_suggestion_when_nothing_was_named(tmp_path: Path) -> None:
    assert suggest_module() == "package"
    (tmp_path / "tasks.py").write_text("")
    assert suggest_module() == "tasks"
