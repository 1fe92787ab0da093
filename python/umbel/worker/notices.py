"""What the engine tells, as log lines in Celery's words."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

logger = logging.getLogger("umbel.worker")


def signal_name(number: int) -> str:
    """`SIGTERM` for 15; `signal 99` for what has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def log_notice(notice: tuple[Any, ...]) -> None:
    """Logs one notice of the engine; unknown ones only when debugging."""
    line: Callable[..., None] = _LINES.get(notice[0], _unknown)
    line(*notice)


def _received(_kind: str, name: str, task_id: str, eta: float | None = None) -> None:
    if eta is None:
        logger.info("Task %s[%s] received", name, task_id)
    else:
        due = datetime.fromtimestamp(eta, timezone.utc).isoformat(" ", "milliseconds")
        logger.info("Task %s[%s] received  ETA:[%s]", name, task_id, due)


def _discarded(kind: str, name: str, task_id: str, detail: str = "") -> None:
    logger.info("Discarding %s task: %s[%s]%s", kind, name, task_id, f" {detail}" if detail else "")


def _terminated(_kind: str, name: str, task_id: str, signum: int) -> None:
    logger.warning("Task %s[%s] was revoked and terminated (%s)", name, task_id, signal_name(signum))


def _unkillable(_kind: str, name: str, task_id: str, _detail: str = "") -> None:
    logger.error(
        "Task %s[%s] cannot be terminated: it runs inside the worker's own process. Use the prefork pool for that",
        name,
        task_id,
    )


def _dead(_kind: str, name: str, task_id: str, detail: str = "") -> None:
    logger.error(
        "Message %s[%s] went to the dead letters: %s (see: umbel dead list)", name or "?", task_id or "?", detail
    )


def _requeued(_kind: str, name: str, task_id: str, detail: str = "") -> None:
    logger.warning("Task %s[%s] goes back to its queue: %s", name, task_id, detail)


def _limit(_kind: str, which: str, name: str, task_id: str, seconds: float) -> None:
    level = logging.ERROR if which == "hard" else logging.WARNING
    logger.log(level, "%s time limit (%gs) exceeded for %s[%s]", which.capitalize(), seconds, name, task_id)


def _connected(_kind: str, url: str) -> None:
    logger.info("Connected to %s", url)


def _disconnected(_kind: str, url: str, error: str, retry_in: float) -> None:
    logger.error("Cannot reach %s: %s. Trying again in %.2f seconds...", url, error, retry_in)


def _child_gone(_kind: str, child: int, pid: int | None, how: str, running: list[str]) -> None:
    tasks = f" while it ran {', '.join(running)}" if running else ""
    logger.log(logging.WARNING if running else logging.DEBUG, "Child %d (pid %s): %s%s", child, pid, how, tasks)


def _refused(_kind: str, _name: str, task_id: str, error: str) -> None:
    logger.error("What task %s brought was not taken and is lost: %s", task_id or "?", error)


def _failed(_kind: str, error: str) -> None:
    logger.critical("The engine broke, and the worker ends: %s", error)


def _unknown(*notice: Any) -> None:
    logger.debug("%s", notice)


_LINES: dict[str, Callable[..., None]] = {
    "received": _received,
    "revoked": _discarded,
    "expired": _discarded,
    "terminated": _terminated,
    "unkillable": _unkillable,
    "dead": _dead,
    "requeued": _requeued,
    "limit": _limit,
    "refused": _refused,
    "failed": _failed,
    "connected": _connected,
    "disconnected": _disconnected,
    "child-gone": _child_gone,
}
