"""Servers that a test starts for itself: a loopback port and a data folder of their own, gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

_DEADLINE = 30.0


def free_port() -> int:
    """A loopback port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def require_program(name: str, *folders: str) -> str:
    """Path of a program; without it tests are skipped on a laptop and fail in CI. `folders` are patterns."""
    found = shutil.which(name)
    if found is not None:
        return found
    for pattern in folders:
        for folder in sorted(Path("/").glob(pattern.lstrip("/")), reverse=True):
            if (folder / name).exists():
                return str(folder / name)
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(f"{name} is not installed; CI must have it (make services-install)")
    pytest.skip(f"{name} is not installed (make services-install)")


class OwnServer:
    """Runs from construction to `stop`, as another user if this is root and the server refuses to be."""

    #: What ends it at once.
    _end = signal.SIGKILL

    def __init__(self, name: str, user: str | None = None) -> None:
        self.port = free_port()
        self._name = name
        self._user = user if os.getuid() == 0 else None
        self.folder = Path(tempfile.mkdtemp(prefix=f"umbel-{name}-"))
        if self._user is not None:
            found = pwd.getpwnam(self._user)
            os.chown(self.folder, found.pw_uid, found.pw_gid)
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, command: Sequence[str]) -> None:
        """Runs a command of the server to its end; fails with what it said."""
        done = subprocess.run(command, user=self._user, cwd=self.folder, capture_output=True, check=False)
        assert done.returncode == 0, f"{command[0]}: {(done.stdout + done.stderr).decode(errors='replace')}"

    def start(self, command: Sequence[str], is_up: Callable[[], bool]) -> None:
        """Starts the server and waits until it answers."""
        log = self.folder / "server.log"
        with open(log, "wb") as output:
            self._process = subprocess.Popen(
                command, user=self._user, cwd=self.folder, stdout=output, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + _DEADLINE
        while not is_up():
            ended = self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                said = log.read_text(errors="replace")
                self.stop()
                raise AssertionError(f"{self._name} did not start: {said[-3000:]}")
            time.sleep(0.01)

    def listens(self) -> bool:
        """Something takes connections on the port."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def end(self) -> None:
        """Ends it; its folder stays."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(self._end)
            self._process.wait(30)

    def stop(self) -> None:
        """Ends it and removes its folder."""
        self.end()
        shutil.rmtree(self.folder, ignore_errors=True)


class PostgresServer(OwnServer):
    """PostgreSQL; anybody on this machine may connect as `postgres`."""

    # Killed it would leave its processes behind.
    _end = signal.SIGQUIT

    def __init__(self) -> None:
        initdb = require_program("initdb", "/usr/lib/postgresql/*/bin")
        postgres = require_program("postgres", "/usr/lib/postgresql/*/bin")
        super().__init__("postgres", user="postgres")
        data = str(self.folder / "data")
        # Nothing is to survive: what happens to its files does not matter.
        self.run([initdb, "-D", data, "-U", "postgres", "-A", "trust", "-N", "--no-locale", "-E", "UTF8"])
        options = ["-c", "fsync=off", "-c", f"unix_socket_directories={self.folder}", "-c", "max_connections=60"]
        self.start([postgres, "-D", data, "-p", str(self.port), "-h", "127.0.0.1", *options], self._answers)

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def url(self) -> str:
        """For SQLAlchemy."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"


class MariaServer(OwnServer):
    """MariaDB; `umbel` may do anything."""

    def __init__(self) -> None:
        install = require_program("mariadb-install-db")
        server = require_program("mariadbd", "/usr/sbin")
        super().__init__("mariadb", user="mysql")
        data = str(self.folder / "data")
        self.run([install, f"--datadir={data}", "--auth-root-authentication-method=normal", "--skip-test-db"])
        sql = "CREATE DATABASE umbel;\nCREATE USER umbel@'127.0.0.1';\nGRANT ALL ON *.* TO umbel@'127.0.0.1';\n"
        init = self.folder / "init.sql"
        init.write_text(sql)
        init.chmod(0o644)
        places = [f"--datadir={data}", f"--socket={self.folder / 'socket'}", f"--pid-file={self.folder / 'pid'}"]
        options = [
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--innodb-flush-log-at-trx-commit=0",
            f"--init-file={init}",
        ]
        self.start([server, "--no-defaults", *places, f"--port={self.port}", *options], self._answers)

    def _answers(self) -> bool:
        import pymysql

        try:
            pymysql.connect(host="127.0.0.1", port=self.port, user="umbel", database="umbel").close()
        except pymysql.err.OperationalError:
            return False
        return True

    def url(self) -> str:
        """For SQLAlchemy."""
        return f"mysql+pymysql://umbel@127.0.0.1:{self.port}/umbel"


class MemcachedServer(OwnServer):
    """memcached with 64 MB."""

    def __init__(self) -> None:
        self._program = require_program("memcached")
        super().__init__("memcached", user="nobody")
        self.begin()

    def begin(self) -> None:
        """Starts it, again after `end`: empty, on the same port."""
        self.start([self._program, "-l", "127.0.0.1", "-p", str(self.port), "-U", "0"], self.listens)

    def url(self) -> str:
        """Of the result store."""
        return f"cache+memcached://127.0.0.1:{self.port}/"
