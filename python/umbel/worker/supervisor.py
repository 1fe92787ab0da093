"""The loop of a worker's main process: engine, pool and signals, through one selector."""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from umbel.pools.base import Pool
from umbel.pools.description import AppDescription
from umbel.pools.prefork import describe_status
from umbel.worker.autoscale import Autoscaler, Load
from umbel.worker.notices import log_notice
from umbel.worker.signal_inbox import SignalInbox
from umbel.worker.start_deaths import StartDeaths
from umbel.worker.task_signals import TaskSignals

if TYPE_CHECKING:
    from umbel._native import Worker

logger = logging.getLogger("umbel.worker")

StopKind = Literal["warm", "cold"]
#: How long after its own deadline a stopping engine is waited for (seconds).
STOP_GRACE = 30.0
#: How often the autoscaler is asked (seconds).
SCALE_EVERY = 1.0
#: How often `heartbeat_sent` is sent (seconds), as in Celery.
HEARTBEAT = 2.0
#: A signal that comes twice this fast was sent once, to the process and to its group (seconds).
ONE_SIGNAL = 0.1


@dataclass(frozen=True)
class RetryLimits:
    """Failed attempts in a row to reach the broker that a worker bears; None: any number."""

    at_start: int | None = None
    later: int | None = None

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> RetryLimits:
        """Of the settings about connection retries."""
        limit: int | None = settings["broker_connection_max_retries"] or None
        later = limit if settings["broker_connection_retry"] else 0
        on_startup = settings["broker_connection_retry_on_startup"]
        return cls(later if on_startup is None else limit if on_startup else 0, later)


class Supervisor:
    """Runs until the engine has stopped.

    Args:
        shutdown_timeout: Of a warm stop, seconds; None waits for ever.
        soft_shutdown_timeout: How long running tasks may go on once a cold stop is asked for, seconds.
        retries: When to give up on a broker that cannot be reached.
        on_ready: Called once, when the broker has been reached.
        autoscaler: Decides how many processes the pool has; None: they are as many as it has at first.
        on_request: Called with headers, content type, content encoding and body of remote control requests; None: the
            engine hears none.
        signals: Sends signals about tasks.
        heartbeat: Whether somebody listens to `heartbeat_sent`.
    """

    def __init__(
        self,
        engine: Worker,
        pool: Pool,
        inbox: SignalInbox,
        shutdown_timeout: float | None,
        soft_shutdown_timeout: float = 0.0,
        retries: RetryLimits = RetryLimits(),
        on_ready: Callable[[], None] = lambda: None,
        autoscaler: Autoscaler | None = None,
        on_request: Callable[[str, str, str, bytes], None] | None = None,
        signals: TaskSignals | None = None,
        heartbeat: bool = False,
    ) -> None:
        self.selector: selectors.BaseSelector = selectors.DefaultSelector()
        self.restart_wanted = False
        self._engine = engine
        self._pool = pool
        self._inbox = inbox
        self._shutdown_timeout = shutdown_timeout
        self._soft_shutdown_timeout = soft_shutdown_timeout
        self._retries = retries
        self._on_ready = on_ready
        self._signals = signals
        self._heartbeat = heartbeat
        self._connected = False
        self._autoscaler = autoscaler
        self._size = 0
        self._deaths = StartDeaths()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._stopping: StopKind | None = None
        self._stopped = False
        self._ready = False
        self._waiting_for = {"connected"} if on_request is None else {"connected", "listening"}
        self._attempts = 0
        self._status = 0
        self._last_signal = (0, 0.0)
        self._in_terminal = sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()
        self._handlers: dict[str, Callable[..., None]] = {
            "spawn": self._on_spawn,
            "child-gone": self._on_child_gone,
            "retiring": self._on_retiring,
            "connected": self._on_connected,
            "disconnected": self._on_disconnected,
            "stopped": self._on_stopped,
            "listening": lambda: self._on_reached("listening"),
            "request": lambda message: None if on_request is None else on_request(*message),
        }

    @property
    def stopping(self) -> bool:
        """Whether a stop has begun."""
        return self._stopping is not None

    def run(self) -> int:
        """Returns the exit status: 0 after a stop that was asked for."""
        self.selector.register(self._engine, selectors.EVENT_READ, self._on_engine)
        self.selector.register(self._inbox, selectors.EVENT_READ, self._on_signals)
        try:
            while not self._stopped:
                for key, _events in self.selector.select(self._time_to_next()):
                    key.data()
                self._run_timers()
        finally:
            self.selector.close()
        return self._status

    def stop(self, kind: StopKind, sig: str = "SIGTERM") -> None:
        """Begins to stop, or makes a warm stop a cold one. `sig`: the signal that asked for it, for receivers."""
        if self._stopping in (kind, "cold"):
            return
        if kind == "cold" and self._soft_shutdown_timeout:
            self._stop_softly(sig)
            return
        first = self._stopping is None
        self._stopping = kind
        logger.warning("worker: %s shutdown (MainProcess)", kind.capitalize())
        told = {"sig": sig, "how": kind.capitalize(), "exitcode": self._status}
        self._pool.send_signal("worker_shutting_down", told)
        if first:
            self._pool.drop_starting()
        self._engine.stop(kind)
        if kind == "cold":
            self.call_later(STOP_GRACE, self._give_up)
        elif self._shutdown_timeout is not None:
            self.call_later(self._shutdown_timeout + STOP_GRACE, self._give_up)

    def _stop_softly(self, sig: str) -> None:
        """A warm stop that becomes a cold one after the soft timeout, or when a cold one is asked for again."""
        seconds, self._soft_shutdown_timeout = self._soft_shutdown_timeout, 0.0
        logger.warning("Initiating Soft Shutdown, terminating in %g seconds", seconds)
        self.stop("warm", sig)
        self.call_later(seconds, lambda: self.stop("cold", sig))

    # --- what a pool asks for (`umbel.pools.base.Supervisor`) -----------------------------------------------------

    def add_child(self, child_id: int, descriptor: int, pid: int | None, slots: int) -> None:
        self._deaths.born(child_id, time.monotonic())
        logger.debug("Child %d started (pid %s)", child_id, pid)
        self._engine.add_child(child_id, descriptor, pid, slots)

    def child_exited(self, child_id: int, pid: int, status: int) -> None:
        level = logging.ERROR if status and self._stopping is None else logging.DEBUG
        logger.log(level, "Process 'ForkPoolWorker-%d' pid:%d exited with %r", child_id, pid, describe_status(status))

    def app_loaded(self, description: AppDescription) -> None:
        self._engine.set_tasks(description.tasks)

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (time.monotonic() + delay, next(self._order), callback))

    def ask_stop(self, cold: bool) -> None:
        self._inbox.post(signal.SIGQUIT if cold else signal.SIGTERM)

    def fail(self, reason: str) -> None:
        logger.critical("Stopping: %s", reason)
        self._status = 1
        self.stop("warm")

    def restart(self, reason: str) -> None:
        logger.error("Restarting: %s", reason)
        self.restart_wanted = True
        self.stop("warm")

    # --- the engine ----------------------------------------------------------------------------------------------

    def _on_engine(self) -> None:
        for notice in self._engine.drain():
            handler = self._handlers.get(notice[0])
            if handler is not None:
                handler(*notice[1:])
            else:
                log_notice(notice)
                if self._signals is not None:
                    self._signals.tell(notice)

    def _on_spawn(self, count: int) -> None:
        for _ in range(count):
            self._pool.spawn()
        if self.stopping:
            self._pool.drop_starting()

    def _on_retiring(self, child_id: int) -> None:
        logger.debug("Child %d is being replaced", child_id)

    def _on_child_gone(self, child_id: int, pid: int | None, how: str, running: list[str]) -> None:
        log_notice(("child-gone", child_id, pid, how, running))
        worked = bool(running) or how in ("stopped", "time-limit")
        if self._deaths.died(child_id, worked, time.monotonic()) and not self.stopping:
            logger.error(
                "Children die as they start (the last one: %s); trying again, with growing pauses. Their own output "
                "tells why: look at worker_process_init handlers, and at memory limits.",
                how,
            )

    def _on_connected(self, url: str) -> None:
        self._attempts = 0
        self._connected = True
        log_notice(("connected", url))
        self._on_reached("connected")

    def _on_reached(self, what: str) -> None:
        self._waiting_for.discard(what)
        if not self._waiting_for and not self._ready:
            self._ready = True
            self._pool.send_signal("worker_ready")
            self._on_ready()
            if self._autoscaler is not None:
                self._size = self._pool.size
                self.call_later(SCALE_EVERY, self._scale)
            if self._heartbeat:
                self._beat()

    def _on_disconnected(self, url: str, error: str, retry_in: float) -> None:
        self._attempts += 1
        self._connected = False
        limit = self._retries.later if self._ready else self._retries.at_start
        if limit is not None and self._attempts > limit and not self.stopping:
            logger.critical("Cannot reach %s after %d attempts: %s", url, self._attempts, error)
            self._status = 1
            self.stop("cold")
            return
        log_notice(("disconnected", url, error, retry_in))

    def _scale(self) -> None:
        """Asks the autoscaler, and comes again."""
        if self._autoscaler is None or self.stopping:
            return
        try:
            stats = self._engine.stats()
        except (RuntimeError, OSError) as error:
            logger.error("The engine does not say how busy it is, so the pool keeps its size: %s", error)
            return
        waiting = stats["waiting"] + stats["queued"]
        load = Load(stats["children"], stats["slots"], stats["running"], waiting, stats["more"])
        former, self._size = self._size, self._autoscaler.size(self._size, load, time.monotonic())
        if self._size != former:
            way = "up" if self._size > former else "down"
            logger.info("Scaling %s %d processes.", way, abs(self._size - former))
            self._engine.set_pool_size(self._size)
        self.call_later(SCALE_EVERY, self._scale)

    def _beat(self) -> None:
        """Shows that this worker reaches its broker, and comes again."""
        if self._connected:
            self._pool.send_signal("heartbeat_sent")
        self.call_later(HEARTBEAT, self._beat)

    def _on_stopped(self) -> None:
        self._stopped = True

    def _give_up(self) -> None:
        if not self._stopped:
            logger.critical("The engine did not stop in time; unfinished tasks return when their leases end")
            self._status = 1
            self._stopped = True

    # --- signals and time ----------------------------------------------------------------------------------------

    def _on_signals(self) -> None:
        for number in self._inbox.take():
            if number == getattr(signal, "SIGCHLD", None):
                self._pool.reap()
            else:
                self._on_stop_signal(number)

    def _on_stop_signal(self, number: int) -> None:
        now = time.monotonic()
        repeated = number == self._last_signal[0] and now - self._last_signal[1] < ONE_SIGNAL
        self._last_signal = (number, now)
        if repeated:
            return
        if number == getattr(signal, "SIGHUP", None):
            # A terminal that was closed is no request for another worker.
            self.restart_wanted = self.restart_wanted or (self._stopping is None and not self._in_terminal)
            self.stop("warm", "SIGHUP")
        elif self._stopping == "cold":
            logger.critical("worker: told to stop for the third time: ending at once")
            os._exit(1)
        elif self._stopping == "warm" or _meaning(number) == "SIGQUIT":
            self.stop("cold", signal.Signals(number).name)
        else:
            if number == signal.SIGINT:
                logger.warning("worker: Hitting Ctrl+C again will terminate all running tasks!")
            self.stop("warm", signal.Signals(number).name)

    def _time_to_next(self) -> float | None:
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None

    def _run_timers(self) -> None:
        while self._timers and self._timers[0][0] <= time.monotonic():
            heapq.heappop(self._timers)[2]()


def _meaning(number: int) -> str:
    """The signal's name; SIGTERM's after `REMAP_SIGTERM`."""
    name = signal.Signals(number).name
    return os.environ.get("REMAP_SIGTERM", name) if name == "SIGTERM" else name
