"""The broker under the fleet: what it is reached by, and what is still in it at the end."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from servers.redis_server import RedisServer
from servers.worker_process import environment

from chaos import append_log
from chaos.proxy import OPEN
from umbel import Umbel

MEBI = 1024 * 1024
#: What `Broker.sizes` calls keys that expire, nearly all of them results.
EXPIRING = "expiring keys"
#: The byte on which SQLite's one writer has its lock.
_WAL_WRITE_LOCK = 120

STATISTICS = ("used_memory_human", "aof_current_size", "total_commands_processed", "redis_version")


class Broker(ABC):
    """One broker of a run, started at construction."""

    #: As settings print it.
    settings: dict[str, Any]

    @abstractmethod
    def url(self, link: str) -> str:
        """By which a member reaches it."""

    def command(self, command: str, link: str) -> None:
        """Does something to a link (`proxy`)."""
        raise NotImplementedError(f"{type(self).__name__} has no network")

    def kill(self) -> None:
        """Kills the server."""
        raise NotImplementedError(f"{type(self).__name__} has no server")

    def restart(self) -> None:
        """Starts it again, in the background."""
        raise NotImplementedError(f"{type(self).__name__} has no server")

    @property
    def up(self) -> bool:
        """Whether it serves."""
        return True

    def held_by(self, pid: int) -> bool:
        """Whether a stopped process keeps all others from writing: only a file can be held."""
        return False

    def heal(self, links: Sequence[str]) -> None:  # noqa: B027, a file has none
        """Ends whatever faults there are."""

    def popped(self, ids: Iterable[str]) -> set[str]:
        """Tasks whose message was last taken by a pop of Celery's."""
        return set()

    @abstractmethod
    def sizes(self) -> dict[str, float]:
        """How much is in it, by what is measured."""

    @abstractmethod
    def app(self) -> Umbel:
        """A client past all faults."""

    def stop(self) -> None:  # noqa: B027, a file need not be stopped
        """Ends it."""


def client(url: str) -> Umbel:
    """The harness's own."""
    return Umbel("chaos-report", broker=url, backend=url, set_as_current=False)


class SqliteBroker(Broker):
    """A file."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "broker.sqlite3"
        self._url = f"sqlite:///{self._path}"
        self.settings = {"broker": "sqlite", "synchronous": "FULL (default)"}

    def url(self, link: str) -> str:
        return self._url

    def held_by(self, pid: int) -> bool:
        return any(
            kind == "WRITE" and int(owner) == pid and place.rpartition(":")[2] == str(self._shared_memory())
            and int(first) <= _WAL_WRITE_LOCK and (last == "EOF" or int(last) >= _WAL_WRITE_LOCK)
            for _, _, _, kind, owner, place, first, last in map(str.split, _posix_locks())
        )  # fmt: skip

    def _shared_memory(self) -> int:
        """Inode of the file on whose bytes SQLite's locks are."""
        return Path(f"{self._path}-shm").stat().st_ino

    def sizes(self) -> dict[str, float]:
        log = Path(f"{self._path}-wal")
        return {"file MiB": self._path.stat().st_size / MEBI, "log MiB": log.stat().st_size / MEBI}

    def app(self) -> Umbel:
        return client(self._url)


def _posix_locks() -> list[str]:
    """Those that are held, a line each."""
    lines = Path("/proc/locks").read_text().splitlines()
    return [line for line in lines if " POSIX " in line and "->" not in line]


class RedisBroker(Broker):
    """A server with an append-only file, and a proxy in front of it."""

    def __init__(self, folder: Path, links: Sequence[str], fsync: str) -> None:
        data = folder / "redis"
        data.mkdir()
        # Never rewritten, so that it tells the whole story (`popped`).
        self._log = data / "appendonlydir"
        self._server = RedisServer(data, "--appendfsync", fsync, "--auto-aof-rewrite-percentage", "0")
        self._starting: threading.Thread | None = None
        self._up = True
        with open(folder / "proxy.log", "wb") as log:
            self._proxy = subprocess.Popen(
                [sys.executable, "-m", "chaos.proxy", str(self._server.port), str(folder / "ledger"), *links],
                env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        assert self._proxy.stdout is not None
        self._ports: dict[str, int] = json.loads(self._proxy.stdout.readline())
        self.settings = {"broker": "redis", "appendonly": "yes", "appendfsync": fsync}

    def url(self, link: str) -> str:
        return f"redis://127.0.0.1:{self._ports[link]}/0"

    def command(self, command: str, link: str) -> None:
        assert self._proxy.stdin is not None
        self._proxy.stdin.write(f"{command} {link}\n")
        self._proxy.stdin.flush()

    def kill(self) -> None:
        self._up = False
        self._server.kill()

    def restart(self) -> None:
        def start() -> None:
            self._server.start()
            self._up = True

        self._starting = threading.Thread(target=start)
        self._starting.start()

    @property
    def up(self) -> bool:
        return self._up

    def heal(self, links: Sequence[str]) -> None:
        if self._starting is not None:
            self._starting.join()
        if not self._up:
            self._server.start()
            self._up = True
        for link in links:
            self.command(OPEN, link)

    def sizes(self) -> dict[str, float]:
        with self._server.connect(0) as connection:
            memory: Any = connection.info("memory")
            space: Any = connection.info("keyspace").get("db0", {"keys": 0, "expires": 0})
            lasting = space["keys"] - space["expires"]
            return {"lasting keys": lasting, EXPIRING: space["expires"], "memory MiB": memory["used_memory"] / MEBI}

    def popped(self, ids: Iterable[str]) -> set[str]:
        return append_log.popped(self._log, ids)

    def app(self) -> Umbel:
        return client(self._server.url())

    def stop(self) -> None:
        if self._up:
            with self._server.connect(0) as connection:
                info: Any = connection.info()
            self.settings |= {name: info.get(name) for name in STATISTICS}
        assert self._proxy.stdin is not None
        self._proxy.stdin.close()
        self._proxy.wait()
        if self._proxy.stdout is not None:
            self._proxy.stdout.close()
        self._server.stop()
