"""SQLite files that cannot be used: the first task says which file and what to do."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from apps import basic
from apps.basic import notes
from servers.stack import PATIENCE
from servers.worker_process import WorkerProcess, environment, urls, wait_until

from umbel import Umbel
from umbel.exceptions import ImproperlyConfigured, OperationalError


def _app(path: Path, query: str = "") -> Umbel:
    url = f"sqlite:///{path}{query}"
    return basic.build(broker_url=url, result_backend=url)


def _publish(path: Path, query: str = "") -> None:
    with _app(path, query) as app:
        app.tasks["basic.add"].apply_async((1, 1), retry=False)


_NOBODY = 65534
_AS_NOBODY = """
import os, sys
from apps import basic
url = "sqlite:///" + sys.argv[1]
app = basic.build(broker_url=url, result_backend=url)
if os.geteuid() == 0:
    os.setgid(int(sys.argv[2]))
    os.setuid(int(sys.argv[2]))
try:
    app.tasks["basic.add"].apply_async((1, 1), retry=False)
except Exception as error:
    print(f"{type(error).__name__}: {error}")
"""


class Outsider:
    """A process without special rights, and a folder that it can see."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def publish(self, path: Path) -> str:
        """What it hears."""
        command = [sys.executable, "-c", _AS_NOBODY, str(path), str(_NOBODY)]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def outsider() -> Iterator[Outsider]:
    # pytest's own folders are closed to others, and root may write anywhere.
    with tempfile.TemporaryDirectory() as folder:
        found = Outsider(Path(folder))
        found.folder.chmod(0o755)
        yield found
        found.folder.chmod(0o755)


def test_another_kind_of_file_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    content = b"not a database" * 1000
    path.write_bytes(content)
    with pytest.raises(ImproperlyConfigured, match="not a SQLite database"):
        _publish(path)
    assert path.read_bytes() == content


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"no/such cannot be used: .*create it"):
        _publish(tmp_path / "no" / "such" / "umbel.sqlite3")


def test_a_name_that_is_too_long_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OperationalError):
        _publish(tmp_path / ("a" * 300))


def test_a_new_file_in_a_folder_that_cannot_be_written_is_refused(outsider: Outsider) -> None:
    outsider.folder.chmod(0o555)
    said = outsider.publish(outsider.folder / "umbel.sqlite3")
    assert said.startswith("OperationalError")
    assert "check owner and permissions" in said


def test_a_file_that_cannot_be_written_is_refused(outsider: Outsider) -> None:
    path = outsider.folder / "umbel.sqlite3"
    _publish(path)
    for file in outsider.folder.iterdir():
        file.chmod(0o444)
    said = outsider.publish(path)
    assert said.startswith("OperationalError")
    assert "check owner and permissions" in said


def test_a_damaged_file_is_said_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "umbel.sqlite3"
    app = _app(path)
    for _ in range(50):
        app.tasks["basic.add"].delay("x" * 1000, "y")
    app.close()
    damage(path)
    with pytest.raises(ImproperlyConfigured, match=r"the file is damaged .*sqlite3 \S*umbel.sqlite3 .recover"):
        _publish(path)


def damage(path: Path) -> None:
    """Spoils all pages of a file but the first, which says that it is a database."""
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(b"\x5a" * (path.stat().st_size - 4096))


def test_a_file_that_is_locked_is_said_in_time_and_works_again(tmp_path: Path) -> None:
    path = tmp_path / "umbel.sqlite3"
    _publish(path)
    with locked(path), pytest.raises(OperationalError, match="another process has kept the file locked"):
        _publish(path, "?timeout=0.2")
    _publish(path)


_LOCK = """
import sqlite3, sys
sqlite3.connect(sys.argv[1], isolation_level=None).execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process is in a transaction; locks of this one would not count against it."""
    command = [sys.executable, "-c", _LOCK, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        yield
        holder.communicate()


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """A file whose tables are of a version to come."""
    path = tmp_path / "umbel.sqlite3"
    _publish(path)
    set_version(path, 999)
    return path


def set_version(path: Path, version: int) -> int:
    """Changes the version of the tables; returns the one before."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        before: int = database.execute("PRAGMA user_version").fetchone()[0]
        database.execute(f"PRAGMA user_version = {version}")
    return before


def test_tables_of_a_newer_version_are_refused(newer: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"newer Umbel \(tables of version 999, .*upgrade Umbel here"):
        _publish(newer)


def test_a_file_that_was_deleted_is_said_and_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "umbel.sqlite3"
    app = _app(path)
    add = app.tasks["basic.add"]
    add.delay(1, 1)
    path.unlink()
    with pytest.raises(OperationalError, match="deleted or replaced while it was open"):
        add.apply_async((1, 1), retry=False)
    add.delay(1, 1)
    assert app.client.queue_length("celery") == 1
    app.close()


# --- the worker


class Fixed:
    """A worker on a file, and what it has said since."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "umbel.sqlite3"
        self.app = _app(self.path)
        # Quicker to see than by default.
        env = {**urls(f"sqlite:///{self.path}?timeout=1"), "UMBEL_WORKER_LEASE": "2"}
        self.worker = WorkerProcess(folder.parent / f"{folder.name}-log", ["-l", "INFO", "-c", "1"], env)
        self.worker.wait_ready()
        self._log_before = 0

    def wait_for(self, pattern: str) -> None:
        """Until the worker says so, after what it said before the last time."""
        wait_until(lambda: re.search(pattern, self.log()), PATIENCE, f"{pattern} in {self.log()}")
        self._log_before = len(self.worker.log())

    def log(self) -> str:
        """What was not waited for yet."""
        return self.worker.log()[self._log_before :]

    def goes_on(self) -> None:
        """The next task runs, and the worker has said little."""
        assert self.app.tasks["basic.add"].delay(1, 1).get(timeout=PATIENCE) == 2
        assert self.worker.log().count("Cannot reach") < 24


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fixed]:
    """Tests break its file in turn, and mend it."""
    found = Fixed(tmp_path_factory.mktemp("file"))
    yield found
    found.app.close()
    assert found.worker.stop() == 0, found.worker.log()


def test_a_worker_waits_for_a_file_that_is_locked(fixed: Fixed, tmp_path: Path) -> None:
    path, until = tmp_path / "notes", tmp_path / "until"
    result = fixed.app.tasks["basic.hold"].delay(str(path), str(until))
    wait_until(lambda: notes(path), PATIENCE, "a running task")
    with locked(fixed.path):
        until.touch()
        fixed.wait_for("Cannot reach .*another process has kept the file locked.*Trying again in")
    assert result.get(timeout=PATIENCE) == "held"
    assert len(notes(path)) == 1
    fixed.goes_on()


def test_a_worker_waits_while_its_tables_are_of_another_version(fixed: Fixed) -> None:
    present = set_version(fixed.path, 999)
    fixed.wait_for("Cannot reach .*newer Umbel.*Trying again in|cannot renew the lease: .*newer Umbel")
    set_version(fixed.path, present)
    fixed.goes_on()


def test_a_worker_goes_on_with_a_new_file_when_its_own_was_deleted(fixed: Fixed, tmp_path: Path) -> None:
    path, until = tmp_path / "notes", tmp_path / "until"
    fixed.app.tasks["basic.hold"].delay(str(path), str(until))
    wait_until(lambda: notes(path), PATIENCE, "a running task")
    for file in fixed.path.parent.glob("umbel.sqlite3*"):
        file.unlink()
    until.touch()
    fixed.wait_for("Connected to")
    fixed.goes_on()


def test_a_worker_whose_file_is_damaged_says_how_to_save_it_and_goes_on_with_another(fixed: Fixed) -> None:
    # What is not in the file yet would mend it.
    with contextlib.closing(sqlite3.connect(fixed.path)) as database:
        wait_until(lambda: database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0, PATIENCE, "no WAL")
    damage(fixed.path)
    fixed.wait_for(r"Cannot reach .*the file is damaged .*sqlite3 \S*umbel.sqlite3 .recover.*Trying again in")
    for file in fixed.path.parent.glob("umbel.sqlite3*"):
        file.rename(file.parent / f"damaged-{file.name}")
    fixed.wait_for("Connected to")
    fixed.goes_on()


def test_a_worker_on_a_full_disk_waits_for_room(small_disk: Path) -> None:
    fixed = Fixed(small_disk)
    until = small_disk.parent / "until"
    result = fixed.app.tasks["basic.hold"].delay(str(small_disk.parent / "notes"), str(until), "x" * 300_000)
    wait_until(lambda: notes(small_disk.parent / "notes"), PATIENCE, "a running task")
    fill(small_disk / "ballast")
    with pytest.raises(OperationalError, match=r"the disk is full .*make room"):
        fixed.app.tasks["basic.add"].apply_async(("x" * 300_000, ""), retry=False)
    until.touch()
    fixed.wait_for(r"Cannot reach .*the disk is full .*make room.*Trying again in")
    (small_disk / "ballast").unlink()
    assert result.get(timeout=PATIENCE) == "x" * 300_000
    fixed.goes_on()
    fixed.app.close()
    assert fixed.worker.stop() == 0, fixed.worker.log()


def fill(path: Path) -> None:
    """Writes until the disk is full."""
    with open(path, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with little room."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "umbel-test", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a file system takes root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
