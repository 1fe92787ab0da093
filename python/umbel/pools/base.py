"""What a pool is: it provides the children (processes or threads) that run tasks.

The supervisor owns the loop; a pool adds its descriptors to the loop's selector and does its work in the callbacks.
"""

from __future__ import annotations

import logging
import selectors
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from umbel.pools.app_finder import add_working_directory, find_app
from umbel.pools.description import AppDescription, LoadRequest

if TYPE_CHECKING:
    from umbel.app import Umbel


@dataclass(frozen=True)
class LogOptions:
    """Where and how much a worker's processes log; `color` None: on a terminal."""

    level: int = logging.WARNING
    file: str | None = None
    color: bool | None = None


@dataclass(frozen=True)
class PoolOptions:
    """How children run. Sizes are KiB; None sets no limit.

    `runner` is the module whose `run_jobs(app, link, options)` a child process calls; `slots` is how many tasks a child
    runs at a time, `processes` how many children there are where that is no consequence of the concurrency.
    """

    request: LoadRequest
    runner: str = "umbel.pools.child_loop"
    slots: int = 1
    processes: int = 1
    max_tasks_per_child: int | None = None
    max_memory_per_child: int | None = None
    log: LogOptions = field(default_factory=LogOptions)


@dataclass
class AppSource:
    """Where the app is found: by name (`-A`), or in this very process."""

    path: str | None
    app: Umbel | None
    directory: str | None
    request: LoadRequest

    def imported(self) -> Umbel:
        """The app, imported into this process.

        Raises:
            AppNotFoundError: It cannot be.
        """
        if self.app is None:
            add_working_directory()
            self.app = find_app(self.path or "")
        return self.app


class Supervisor(Protocol):
    """What a pool asks of the loop it lives in."""

    selector: selectors.BaseSelector

    @property
    def stopping(self) -> bool:
        """Whether a stop has begun: nothing new is to be started."""
        ...

    def add_child(self, child_id: int, descriptor: int, pid: int | None, slots: int) -> None:
        """A child is there; `descriptor` is the engine's end of its socket and changes owner."""

    def child_exited(self, child_id: int, pid: int, status: int) -> None:
        """A child process was reaped; `status` is as from `os.waitpid`."""

    def app_loaded(self, description: AppDescription) -> None:
        """The app was imported again, maybe with other tasks."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        """Calls back from the loop after `delay` seconds."""

    def ask_stop(self, cold: bool) -> None:
        """A task wants the worker to stop; may be called from any thread."""

    def fail(self, reason: str) -> None:
        """Warm stop with an exit status that says failure: for what a restart would not mend either."""

    def restart(self, reason: str) -> None:
        """Warm stop, then the program again: for what cannot be repaired in a running worker."""


class Pool(ABC):
    """Base of all pools. Methods are called from the supervisor's thread unless they say otherwise."""

    #: As `-P` names it.
    name: str
    #: Whether children are processes (time limits, recycling and kills work).
    processes: bool
    #: Whether a child runs many tasks at a time, so that `--processes` says how many children there are.
    concurrent_children: bool = False
    #: Tasks at once, where nobody says how many; None: as many as CPUs may be used.
    default_concurrency: int | None = None

    def __init__(self, source: AppSource) -> None:
        self._source = source

    @abstractmethod
    def load(self) -> AppDescription:
        """Imports the app, in the process where tasks will run, and tells what the main process must know.

        Raises:
            AppNotFoundError: The app cannot be imported.
        """

    @abstractmethod
    def attach(self, supervisor: Supervisor, options: PoolOptions, concurrency: int) -> None:
        """Called once, after `load` and before the engine starts."""

    @property
    @abstractmethod
    def size(self) -> int:
        """How many children the engine should ask for."""

    @abstractmethod
    def spawn(self) -> None:
        """Starts one more child; it is announced with `Supervisor.add_child`."""

    def drop_starting(self) -> None:  # noqa: B027, most pools start at once
        """The worker stops: children that cannot be started now are announced as gone."""

    @abstractmethod
    def send_signal(self, name: str, fields: Mapping[str, Any] | None = None) -> None:
        """Sends one of Celery's worker signals (`worker_ready`, …) in the process where the app lives; see
        `umbel.pools.worker_signals` for `fields`."""

    @abstractmethod
    def close(self) -> None:
        """Ends what the pool still runs. The engine has stopped."""

    def reap(self) -> None:  # noqa: B027, most pools have none
        """Called on SIGCHLD: collects children that are this process's own."""

    def describe(self) -> str:
        """For the banner."""
        return self.name


class MainThreadPool(Pool):
    """A pool that runs tasks in the thread that called `Worker.run`; the supervisor's loop gets a thread of its own."""

    @abstractmethod
    def run_tasks(self) -> None:
        """Runs tasks in the calling thread until the pool is closed, which another thread does."""
