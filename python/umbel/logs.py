"""Logging: Celery's formats, with the task's name and id in every record of a task.

`umbel` is the parent of the library's loggers, `umbel.task` of the loggers `get_task_logger` returns. A worker gives
these two handlers of their own and leaves the root logger alone; where the application configured the root logger
itself, records go there instead. `worker_hijack_root_logger` brings Celery's way back: the root logger's handlers are
replaced.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Iterable
from logging.handlers import WatchedFileHandler
from typing import IO, Any

from umbel._current import current_request
from umbel.config.conf import Settings
from umbel.exceptions import ImproperlyConfigured
from umbel.signals import after_setup_logger, after_setup_task_logger, setup_logging

__all__ = [
    "ColorFormatter",
    "LoggingProxy",
    "TaskFormatter",
    "get_logger",
    "get_task_logger",
    "level_number",
    "redirect_stdouts",
    "setup",
]

base_logger = logging.getLogger("umbel")
task_logger = logging.getLogger("umbel.task")
_RESERVED = frozenset({"umbel", "umbel.task", "celery", "celery.task"})
_NO_TASK = "???"


def get_logger(name: str) -> logging.Logger:
    """A logger below `umbel`'s, so that it is shown as the worker's own log lines are."""
    return _below(base_logger, logging.getLogger(name))


def get_task_logger(name: str) -> logging.Logger:
    """A logger for the tasks of a module; its records show which task wrote them."""
    if name in _RESERVED:
        raise RuntimeError(f"Logger name {name!r} is reserved; use __name__")
    return _below(task_logger, logging.getLogger(name))


def _below(parent: logging.Logger, logger: logging.Logger) -> logging.Logger:
    if logger is not parent and logger.parent is logging.root:
        logger.parent = parent
    return logger


def level_number(level: str | int | None) -> int:
    """10 for "debug", "DEBUG" or 10. Raises ImproperlyConfigured for a word that is no level."""
    if level is None:
        return logging.WARNING
    if isinstance(level, int):
        return level
    if level.isdigit():
        return int(level)
    number = logging.getLevelName(level.upper())
    if not isinstance(number, int):
        raise ImproperlyConfigured(f"No log level {level!r}; use DEBUG, INFO, WARNING, ERROR, CRITICAL or FATAL")
    return number


# --- formatters


class ColorFormatter(logging.Formatter):
    """Colours whole lines by level."""

    COLORS = {"DEBUG": "\033[1;34m", "WARNING": "\033[1;33m", "ERROR": "\033[1;31m", "CRITICAL": "\033[1;35m"}
    RESET = "\033[0m"

    def __init__(self, fmt: str | None = None, use_color: bool = True, datefmt: str | None = None) -> None:
        super().__init__(fmt, datefmt)
        self.use_color = use_color

    def format(self, record: logging.LogRecord) -> str:
        """The line, coloured if wanted."""
        line = super().format(record)
        color = self.COLORS.get(record.levelname) if self.use_color else None
        return f"{color}{line}{self.RESET}" if color else line


class TaskFormatter(ColorFormatter):
    """Adds `task_name` and `task_id` of the running task; `???` outside one."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, with the task that wrote it."""
        if not hasattr(record, "task_name"):
            request = current_request()
            record.task_id = request.id if request is not None and request.id else _NO_TASK
            record.task_name = request.task if request is not None and request.task else _NO_TASK
        return super().format(record)


# --- set-up of a process


def setup(
    conf: Settings,
    loglevel: str | int | None = None,
    logfile: str | None = None,
    colorize: bool | None = None,
) -> None:
    """Configures the loggers of a worker process; calling it again replaces what it did before.

    If an application connected to `setup_logging`, that is left to it.
    """
    level = level_number(loglevel)
    color = _use_color(conf, logfile, colorize)
    details = {"loglevel": level, "logfile": logfile, "format": conf.worker_log_format, "colorize": color}
    if setup_logging.receivers:
        for _, response in setup_logging.send(sender=None, **details):
            if isinstance(response, Exception):
                raise response
        return
    own_handlers = conf.worker_hijack_root_logger or not logging.root.handlers
    target = logging.root if conf.worker_hijack_root_logger else base_logger
    if conf.worker_hijack_root_logger:
        for logger in (logging.root, base_logger, task_logger):
            _remove_handlers(logger, logger.handlers)
        logging.captureWarnings(True)
    target.setLevel(level)
    task_logger.setLevel(level)
    if own_handlers:
        formatter = ColorFormatter(conf.worker_log_format, color, conf.worker_log_datefmt)
        _install(target, formatter, logfile, propagate=False)
    after_setup_logger.send(sender=None, logger=target, **details)
    if own_handlers:
        formatter = TaskFormatter(conf.worker_task_log_format, color, conf.worker_task_log_datefmt)
        _install(task_logger, formatter, logfile, propagate=False)
    after_setup_task_logger.send(sender=None, logger=task_logger, **{**details, "format": conf.worker_task_log_format})


def _use_color(conf: Settings, logfile: str | None, colorize: bool | None) -> bool:
    wanted = conf.worker_log_color if colorize is None else colorize
    if wanted is None:
        return logfile is None and sys.platform != "win32" and sys.stderr is not None and sys.stderr.isatty()
    return bool(wanted) and logfile is None


def _install(logger: logging.Logger, formatter: logging.Formatter, logfile: str | None, propagate: bool) -> None:
    _remove_handlers(logger, [handler for handler in logger.handlers if getattr(handler, "umbel_own", False)])
    handler = WatchedFileHandler(logfile, encoding="utf-8") if logfile else logging.StreamHandler(sys.__stderr__)
    handler.umbel_own = True  # type: ignore[union-attr]
    handler.setFormatter(formatter)
    logger.addHandler(handler)
    if logger is not logging.root:
        logger.propagate = propagate


def _remove_handlers(logger: logging.Logger, handlers: Iterable[logging.Handler]) -> None:
    for handler in list(handlers):
        logger.removeHandler(handler)
        if getattr(handler, "umbel_own", False):
            handler.close()


# --- prints as log lines


def redirect_stdouts(level: str | int = "WARNING") -> None:
    """Turns what the process prints into log lines of the logger `umbel.redirected`."""
    proxy: Any = LoggingProxy(logging.getLogger("umbel.redirected"), level_number(level))
    sys.stdout = sys.stderr = proxy


class LoggingProxy:
    """A text stream that logs each line written to it."""

    mode = "w"
    name = None
    closed = False
    encoding = "utf-8"
    errors = "replace"

    def __init__(self, logger: logging.Logger, level: int) -> None:
        self.logger = logger
        self.level = level
        self._thread = threading.local()

    def write(self, data: str | bytes) -> int:
        """Logs the text; returns its length. What logging itself prints while it logs is dropped, or it would loop."""
        if not data or getattr(self._thread, "logging", False):
            return 0
        text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
        self._thread.logging = True
        try:
            for line in text.splitlines():
                if line.strip():
                    self.logger.log(self.level, "%s", line.rstrip())
        except Exception:
            traceback.print_exc(file=sys.__stderr__)
        finally:
            self._thread.logging = False
        return len(data)

    def writelines(self, lines: Iterable[str]) -> None:
        """Logs each."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Nothing is buffered."""

    def close(self) -> None:
        """Later writes are still logged: interpreter shutdown writes after closing."""

    def isatty(self) -> bool:
        """Never."""
        return False

    def fileno(self) -> int:
        """The real stderr's, for code that duplicates descriptors."""
        stream: IO[str] | None = sys.__stderr__
        if stream is None:
            raise OSError("no standard error stream")
        return stream.fileno()
