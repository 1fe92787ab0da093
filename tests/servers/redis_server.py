"""A private Redis: own port, own folder, gone afterwards."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import redis
from servers.own_server import free_port, require_program

_DEADLINE = 20.0


def require_redis() -> str:
    """Path of the program; without it tests are skipped on a laptop and fail in CI."""
    return require_program("redis-server")


class RedisServer:
    """Runs from construction to `stop`."""

    def __init__(self, folder: Path, *options: str) -> None:
        """`options`: more arguments of the server."""
        self.port = free_port()
        self._folder = folder
        self._options = options
        self.start()

    def start(self) -> None:
        """Starts it, again after `stop`; what it held is still there."""
        self._process = subprocess.Popen(
            [
                require_redis(), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder),
                "--save", "", "--appendonly", "yes", "--databases", "64", "--loglevel", "warning",
                *self._options,
            ],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + _DEADLINE
        while True:
            try:
                with self.connect(0) as connection:
                    connection.ping()
                return
            except redis.exceptions.ConnectionError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise
                time.sleep(0.01)

    def url(self, database: int = 0) -> str:
        """For broker and result store."""
        return f"redis://127.0.0.1:{self.port}/{database}"

    def connect(self, database: int) -> redis.Redis:
        """A client of redis-py; close it."""
        return redis.Redis(port=self.port, db=database)

    @property
    def pid(self) -> int:
        """Of the server's process."""
        return self._process.pid

    def kill(self) -> None:
        """Kills the process. What it had written to its file stays: the machine goes on."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Ends it."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(10)
