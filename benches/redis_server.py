"""The run's private Redis, and what it says of the work it did."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benches.processes import running, start, wait_for


@dataclass(frozen=True)
class Usage:
    """What Redis has done since it started. `usage - earlier` is what it did in between."""

    commands: int
    bytes_in: int
    bytes_out: int
    cpu: float

    def __sub__(self, earlier: Usage) -> Usage:
        return Usage(
            self.commands - earlier.commands,
            self.bytes_in - earlier.bytes_in,
            self.bytes_out - earlier.bytes_out,
            self.cpu - earlier.cpu,
        )


class RedisServer:
    """A server that runs on `port`, in the process `pid`."""

    def __init__(self, port: int, pid: int) -> None:
        import redis  # Not needed where only the SQLite file is measured.

        self.port, self.pid = port, pid
        self._client: Any = redis.Redis(port=port, socket_timeout=10)
        self._refused: type[Exception] = redis.exceptions.ConnectionError

    def answers(self) -> bool:
        """Whether it accepts connections."""
        try:
            return bool(self._client.ping())
        except self._refused:
            return False

    def url(self, port: int | None = None) -> str:
        """For broker and result store; `port` is that of a proxy."""
        return f"redis://127.0.0.1:{port or self.port}/0"

    def clear(self) -> None:
        """Forgets everything, and has its append-only file rewritten now, not while something is measured."""
        self._client.flushall()
        if self._client.config_get("appendonly")["appendonly"] == "yes":
            self._client.bgrewriteaof()
            wait_for(self._rewritten, 30, "the append-only file is rewritten")

    def _rewritten(self) -> bool:
        state = self._client.info("persistence")
        return not state["aof_rewrite_in_progress"] and not state["aof_rewrite_scheduled"]

    def usage(self) -> Usage:
        """Commands (those inside of scripts are counted too), traffic and processor time so far."""
        commands = self._client.info("commandstats")
        total = self._client.info("stats")
        cpu = self._client.info("cpu")
        return Usage(
            commands=sum(entry["calls"] for name, entry in commands.items() if name != "cmdstat_info"),
            bytes_in=total["total_net_input_bytes"],
            bytes_out=total["total_net_output_bytes"],
            cpu=cpu["used_cpu_user"] + cpu["used_cpu_sys"],
        )

    def version(self) -> str:
        """Its version."""
        return str(self._client.info("server")["redis_version"])


@contextlib.contextmanager
def private_redis(folder: Path, persistence: tuple[str, ...]) -> Iterator[RedisServer]:
    """A server on a free loopback port, with its data in `folder`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    command += ["--auto-aof-rewrite-percentage", "0"]
    with open(folder / "redis.log", "wb") as log:
        process = start([*command, *persistence], folder, {}, log, subprocess.STDOUT)
    with running(process):
        server = RedisServer(port, process.pid)
        wait_for(server.answers, 10, "Redis answers")
        yield server
