"""What the command line says when it is used wrongly, and the exit status: 2 for usage, 1 for a failure."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import umbel
from umbel.cli import main
from umbel.cli.root import COMMANDS


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "usage_proj.py").write_text("from umbel import Umbel\napp = Umbel('usage', set_as_current=False)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("UMBEL_APP", "CELERY_APP", "UMBEL_BROKER_URL", "CELERY_BROKER_URL", "UMBEL_RESULT_BACKEND"):
        # Set first, so that what a command sets is undone as well.
        monkeypatch.setenv(name, "")
    for name in ("UMBEL_BROKER_READ_URL", "UMBEL_BROKER_WRITE_URL", "NO_COLOR", "CELERY_CONFIG_MODULE"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    yield
    sys.modules.pop("usage_proj", None)


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    """Exit status, output and errors."""
    status = main(list(argv))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version") == (0, f"umbel {umbel.__version__}\n", "")


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "--help")
    assert status == 0
    for name, text in COMMANDS.items():
        assert f"  {name} " in out
        assert text in out


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help(capsys: pytest.CaptureFixture[str], name: str) -> None:
    status, out, _ = run(capsys, name, "--help")
    assert status == 0
    assert out.startswith(f"Usage: umbel {name}")
    assert len(out.splitlines()) > 4


@pytest.mark.parametrize(
    ("argv", "message", "hint"),
    [
        (["wroker"], "there is no command 'wroker'; did you mean worker?", "umbel --help"),
        (["zzz"], "there is no command 'zzz'; commands are worker, call", "umbel --help"),
        (["beat"], "Celery's command 'beat' is not part of this version", "umbel --help"),
        (["worker", "--concurency", "3"], "--concurrency", "umbel worker --help"),
        (["worker", "-c", "none"], "'none' is not a valid integer range", "umbel worker --help"),
        (["worker", "-c", "0"], "0 is not in the range", "umbel worker --help"),
        (["worker", "-P", "fibers"], "'fibers' is not one of", "umbel worker --help"),
        (["worker", "-l", "loud"], "'loud' is not one of", "umbel worker --help"),
        (["worker"], "no application was named", "set UMBEL_APP"),
        (["dead", "list"], "no application was named", "umbel -A"),
        (["-A", "usage_porj", "worker"], "no module named 'usage_porj'", "Did you mean -A usage_proj?"),
        (["-A", "usage_proj:ap", "report"], "has no attribute 'ap'", "Did you mean -A usage_proj:app?"),
        (["worker", "-A", "usage_porj"], "no module named 'usage_porj'", "Did you mean -A usage_proj?"),
        (["-A", "usage_proj", "call"], "Missing argument 'NAME'", "umbel call --help"),
        (["-A", "usage_proj", "call", "x", "-a", "[1"], "'[1' is not JSON", "umbel call --help"),
        (["-A", "usage_proj", "call", "x", "-a", "{}"], "must be a list in JSON", "umbel call --help"),
        (["-A", "usage_proj", "call", "x", "-k", "[]"], "must be an object in JSON", "umbel call --help"),
        (["-A", "usage_proj", "call", "x", "--eta", "soon"], "neither seconds nor a time", "umbel call --help"),
        (["-A", "usage_proj", "dead", "replay"], "nothing to replay", "umbel dead list"),
        (["-A", "usage_proj", "dead", "purge"], "nothing to purge", "--all"),
        (["--workdir", "/surely/not", "report"], "/surely/not: No such file or directory", "--help"),
        (
            ["-A", "usage_proj", "worker", "--time-limit", "1", "--soft-time-limit", "2"],
            "--soft-time-limit must be shorter",
            "umbel worker --help",
        ),
        (["-A", "usage_proj", "worker", "-Q", "a", "-X", "a"], "No queue is left to consume", "settings"),
    ],
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], argv: list[str], message: str, hint: str) -> None:
    status, out, err = run(capsys, *argv)
    assert status == 2
    assert out == ""
    first, *rest = err.splitlines()
    assert first.startswith("Error: ")
    assert message in first
    assert hint in "\n".join(rest)
    assert len(rest) == 1


@pytest.mark.parametrize(
    ("argv", "message", "hint"),
    [
        (["-A", "usage_proj", "-b", "nosuch://x", "queues"], "nosuch", "settings"),
        (["-A", "usage_proj", "-b", "redis://:hidden@127.0.0.1:1/0", "queues"], "127.0.0.1:1", "Is the server running"),
        (["-b", "sqlite:///{tmp}/a.sqlite3", "dead", "show", "17"], "there is no dead letter 17", "umbel dead list"),
        (["-b", "sqlite:///{tmp}/b.sqlite3", "result", "17"], "no result for 17", "--wait"),
        (
            ["-b", "sqlite:///{tmp}/c.sqlite3", "--result-backend", "sqlite:///{tmp}/c.sqlite3", "result", "17", "-w",
             "--timeout", "0.1"],
            "task 17 has not finished within 0.1 s",
            "Is a worker running?",
        ),
    ],
)  # fmt: skip
def test_failures(capsys: pytest.CaptureFixture[str], tmp_path: Path, argv: list[str], message: str, hint: str) -> None:
    status, _, err = run(capsys, *(part.replace("{tmp}", str(tmp_path)) for part in argv))
    assert status == 1
    assert message in err
    assert hint in err
    assert "hidden" not in err
    assert "Traceback" not in err


def test_the_users_traceback_is_shown_when_the_app_does_not_import(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "usage_broken.py").write_text("import no_such_package_at_all\n")
    status, _, err = run(capsys, "-A", "usage_broken", "report")
    assert status == 1
    assert "usage_broken.py" in err
    assert "Is 'no_such_package_at_all' installed" in err


def test_report_hides_passwords(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "-A", "usage_proj", "-b", "redis://user:hidden@127.0.0.1:1/0", "report")
    assert status == 0
    assert "hidden" not in out
    assert "redis://user:***@127.0.0.1:1/0" in out


def test_the_app_is_named_by_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UMBEL_APP", "usage_proj")
    status, out, _ = run(capsys, "report")
    assert status == 0
    assert "app  usage" in out


def test_an_app_runs_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    app = umbel.Umbel("given", set_as_current=False)
    assert app.start(["report"]) == 0
    assert "app  given" in capsys.readouterr().out
    with pytest.raises(ValueError, match="worker"):
        app.worker_main(["--loglevel=INFO"])
