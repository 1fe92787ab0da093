"""Commands that change what the engine does with tasks. Answers are in Celery's words, for its tools read them."""

from __future__ import annotations

import logging
import signal as signals
from collections.abc import Mapping, Sequence
from typing import Any

from umbel.app.clock import timestamp
from umbel.app.control import stamp_values
from umbel.utils.time import rate
from umbel.worker.control.panel import WorkerState, control_command, error, ok

logger = logging.getLogger("umbel.worker")


@control_command
def ping(state: WorkerState, **_: Any) -> dict[str, Any]:
    """Says that the worker is there."""
    return ok("pong")


@control_command
def hello(
    state: WorkerState, from_node: str, revoked: Sequence[str] | Mapping[str, Any] | None = None, **_: Any
) -> dict[str, Any] | None:
    """A worker has started (Celery's "mingle"): what it knows to be revoked is learned, what is known here is told."""
    if from_node == state.node:
        return None
    if revoked:
        state.engine.revoke([str(task_id) for task_id in revoked], [], _until(state))
    return {"revoked": state.engine.revoked(), "clock": state.clock}


@control_command
def revoke(
    state: WorkerState,
    task_id: str | Sequence[str],
    terminate: bool = False,
    signal: str | int | None = None,
    **_: Any,
) -> dict[str, Any]:
    """Tasks are not to run; with `terminate` those that run are sent a signal."""
    ids = [task_id] if isinstance(task_id, str) else [str(each) for each in task_id or ()]
    number = signal_number(signal) if terminate else None
    here = state.engine.present(ids) if terminate else []
    state.engine.revoke(ids, [], _until(state), number)
    if not terminate:
        logger.info("Tasks flagged as revoked: %s", ", ".join(ids))
        return ok(f"tasks {set(ids)} flagged as revoked")
    if not here:
        return ok("terminate: tasks unknown")
    for each, _running in here:
        logger.info("Terminating %s (%s)", each, number)
    return ok(f"terminate: {', '.join(each for each, _running in here)}")


@control_command
def terminate(
    state: WorkerState, signal: str | int | None = None, task_id: str | Sequence[str] = (), **_: Any
) -> dict[str, Any]:
    """`revoke` with `terminate`."""
    return revoke(state, task_id, terminate=True, signal=signal)


@control_command
def revoke_by_stamped_headers(
    state: WorkerState,
    headers: Mapping[str, Any] | Sequence[str],
    terminate: bool = False,
    signal: str | int | None = None,
    **_: Any,
) -> dict[str, Any]:
    """Tasks with these stamps are not to run: a mapping, or texts like `header=value`."""
    if not isinstance(headers, Mapping):
        pairs = [text.split("=", 1) for text in headers]
        headers = {pair[0]: pair[1] for pair in pairs}
    number = signal_number(signal) if terminate else None
    state.engine.revoke([], stamp_values(headers), _until(state), number)
    logger.info("Stamps flagged as revoked: %s", headers)
    return ok(f"headers {dict(headers)} {'revoked' if terminate else 'flagged as revoked, but not terminated'}")


@control_command
def time_limit(
    state: WorkerState, task_name: str, hard: float | None = None, soft: float | None = None, **_: Any
) -> dict[str, Any]:
    """Changes the time limits of a task (seconds; None: no limit)."""
    if not state.change_task(task_name, time_limit=hard, soft_time_limit=soft):
        logger.error("Change time limit attempt for unknown task %s", task_name)
        return error("unknown task")
    logger.info("New time limits for tasks of type %s: soft=%s hard=%s", task_name, soft, hard)
    return ok("time limits set successfully")


@control_command
def rate_limit(state: WorkerState, task_name: str, rate_limit: str | float | None, **_: Any) -> dict[str, Any]:
    """Changes how many of a task may start in a time; 0 or None lifts the limit."""
    try:
        found = rate(rate_limit)
    except ValueError as reason:
        return error(f"Invalid rate limit string: {reason!r}")
    if not state.change_task(task_name, rate_limit=found):
        logger.error("Rate limit attempt for unknown task %s", task_name)
        return error("unknown task")
    if not found:
        logger.info("Rate limits disabled for tasks of type %s", task_name)
        return ok("rate limit disabled successfully")
    logger.info("New rate limit for tasks of type %s: %s.", task_name, rate_limit)
    return ok("new rate limit set successfully")


def signal_number(signal: str | int | None) -> int:
    """The number of a signal by name (`SIGKILL`, `kill`) or number; None is SIGTERM.

    Raises:
        ValueError: There is no such signal.
    """
    if signal is None:
        return int(signals.SIGTERM)
    if isinstance(signal, str) and not signal.isdigit():
        name = signal.upper()
        name = name if name.startswith("SIG") else f"SIG{name}"
        number = getattr(signals, name, None)
        if not isinstance(number, signals.Signals):
            raise ValueError(f"there is no signal {signal!r}")
        return int(number)
    return int(signals.Signals(int(signal)))


def _until(state: WorkerState) -> float:
    return timestamp() + float(state.app.settings["revoke_expires"])
