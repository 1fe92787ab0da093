"""One measurement of one peer: its clean broker, its worker, the client that measures.

Everything a measurement starts it also ends, in time or not.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benches.failure import PeerFailed
from benches.peers import Peer
from benches.processes import running, start
from benches.rabbit_server import RabbitServer
from benches.redis_server import RedisServer
from benches.tally import Tally

PROJECT = Path(__file__).parent.parent

#: Lines of each log that a failure shows.
_TAIL = 15


@dataclass
class Run:
    """What all measurements of a run have in common.

    Attributes:
        folder: For files of the run.
        redis: The private server; None if no peer needs it.
        rabbit: Likewise.
        seconds: How long a drain should last.
        loops: Turns of `work.turn` that take a millisecond.
        most: Upper bound of tasks and messages in one measurement.
        distance_proxy: The program that stands between peer and broker; None: it was not built.
        counts: Tasks for each peer and scenario, as the pilots found them.
    """

    folder: Path
    redis: RedisServer | None
    seconds: float
    loops: int
    most: int = 200_000
    distance_proxy: Path | None = None
    counts: dict[str, int] = field(default_factory=dict)
    rabbit: RabbitServer | None = None

    @property
    def moment(self) -> float:
        """How long publishing and round trips are measured (seconds): there are many of them even in half the time."""
        return self.seconds / 2


@dataclass
class Bench:
    """One peer's measurement, in a folder of its own."""

    run: Run
    peer: Peer
    folder: Path

    @property
    def tally(self) -> Tally:
        """Where the tasks count themselves."""
        return Tally(self.folder / "tally")

    @property
    def broker(self) -> str:
        """URL of the broker, which is the result store, too, but on RabbitMQ."""
        if self.peer.store == "sqlite":
            return f"sqlite:///{self.folder}/bench.sqlite3"
        if self.peer.store == "rabbitmq":
            assert self.run.rabbit is not None
            return self.run.rabbit.url(self.peer.scheme)
        assert self.run.redis is not None
        return self.run.redis.url()

    def clear(self) -> None:
        """An empty broker, and nothing counted."""
        self.tally.clear()
        if self.peer.store == "sqlite":
            for file in self.folder.glob("bench.sqlite3*"):
                file.unlink()
        elif self.peer.store == "rabbitmq" and self.run.rabbit is not None:
            self.run.rabbit.clear()
        elif self.run.redis is not None:
            self.run.redis.clear()

    def environment(self, **more: str) -> dict[str, str]:
        """Of worker and client: the project can be imported, and what the run was given stays as it is."""
        path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
        own = {"BENCH_BROKER": self.broker, "BENCH_TALLY": str(self.folder / "tally")}
        if self.peer.store == "rabbitmq":
            own["BENCH_BACKEND"] = "rpc://"
        return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **own, **more}

    @contextlib.contextmanager
    def worker(
        self, waiting: bool = False, through: int | None = None, path: Sequence[str] = (), **environment: str
    ) -> Iterator[list[int]]:
        """The peer's worker; yields the pids of its main processes.

        Args:
            waiting: With slots for tasks that wait.
            through: Port of a proxy between it and Redis.
            path: Folders in which its modules are looked for first.
            environment: More of it.
        """
        broker = self.broker
        if through is not None and self.run.redis is not None:
            broker = self.run.redis.url(through)
        command = self.peer.waiting_worker if waiting and self.peer.waiting_worker else self.peer.worker
        slots = self.peer.waiting_slots if waiting else self.peer.slots
        python = python_of(self.peer)
        words = {
            "python": str(python),
            "bin": str(python.parent),
            "app": self.peer.app,
            "broker": broker,
            "slots": str(slots),
            "share": str(max(1, slots // 2)),
        }
        arguments = [part.format(**words) for part in command]
        whole = self.environment(BENCH_SHARE=words["share"], **environment) | {"BENCH_BROKER": broker}
        whole["PYTHONPATH"] = os.pathsep.join([*path, whole["PYTHONPATH"]])
        with contextlib.ExitStack() as stack:
            log = stack.enter_context(open(self.folder / "worker.log", "ab"))
            pids = []
            for _ in range(self.peer.processes):
                process = start(arguments, self.folder, whole, log, log)
                stack.enter_context(running(process))
                pids.append(process.pid)
            yield pids

    def measure(self, name: str, within: float, environment: dict[str, str] | None = None, **parameters: Any) -> Any:
        """Runs a measure of `benches.client` and returns its figures. Raises PeerFailed."""
        with self.client(name, environment, **parameters) as client:
            return client.figures(within)

    @contextlib.contextmanager
    def client(self, name: str, environment: dict[str, str] | None = None, **parameters: Any) -> Iterator[Client]:
        """A measure of `benches.client`, running."""
        command = [str(python_of(self.peer)), "-m", "benches.client", self.peer.app, name, json.dumps(parameters)]
        with open(self.folder / "client.log", "ab") as log:
            process = start(command, self.folder, self.environment(**environment or {}), subprocess.PIPE, log)
            with running(process, within=0):
                yield Client(process, self, name)

    def wait_ready(self, seconds: float = 30.0) -> None:
        """Until the worker has run a first task. Raises PeerFailed."""
        ran = self.tally.total()
        self.measure("ready", seconds)
        self.wait_count(ran + 1, seconds)

    def wait_count(self, count: int, seconds: float) -> None:
        """Until so many tasks have counted themselves. Raises PeerFailed."""
        try:
            self.tally.wait(count, seconds)
        except TimeoutError as error:
            raise PeerFailed(f"its worker: {error}", self.logs()) from None

    def logs(self) -> str:
        """The ends of the logs of worker and client."""
        parts = []
        for path in sorted(self.folder.glob("*.log")):
            lines = path.read_text(errors="replace").splitlines()[-_TAIL:]
            if lines:
                parts.append(f"{path.name}:\n" + "\n".join(lines))
        return "\n".join(parts)


class Client:
    """A client process, and what it says."""

    def __init__(self, process: subprocess.Popen[bytes], bench: Bench, name: str) -> None:
        self._process = process
        self._bench = bench
        self._name = name
        self._rest = b""

    def wait_event(self, event: str, within: float) -> dict[str, Any]:
        """The next thing it says, which must be this. Raises PeerFailed."""
        said = self._next(within)
        if said.get("event") != event:
            raise PeerFailed(f"{self._name}: {event!r} was awaited, and {said} came", self._bench.logs())
        return said

    def figures(self, within: float) -> dict[str, float]:
        """What it measured. Raises PeerFailed."""
        while "figures" not in (said := self._next(within)):
            pass
        figures: dict[str, float] = said["figures"]
        return figures

    def _next(self, within: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        deadline = time.monotonic() + within
        while b"\n" not in self._rest:
            left = deadline - time.monotonic()
            readable = left > 0 and select.select([self._process.stdout], [], [], left)[0]
            if not readable:
                raise PeerFailed(f"{self._name}: no figures within {within:g} s", self._bench.logs())
            piece = os.read(self._process.stdout.fileno(), 65536)
            if not piece:
                status = self._process.wait()
                raise PeerFailed(f"{self._name}: the client ended with exit status {status}", self._bench.logs())
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        try:
            said: dict[str, Any] = json.loads(line)
        except ValueError:
            return self._next(within)  # A library's own output.
        return said if isinstance(said, dict) else {}


def python_of(peer: Peer) -> Path:
    """The interpreter of the environment in which the peer is installed."""
    if not peer.environment:
        return Path(sys.executable)
    prefix = Path(sys.prefix)
    return prefix.with_name(f"{prefix.name}-{peer.environment}") / "bin" / "python"
