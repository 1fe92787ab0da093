"""Logging."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from umbel import logs, signals
from umbel.config import Settings
from umbel.exceptions import ImproperlyConfigured
from umbel.task import Task
from umbel.utils.log import get_task_logger


@pytest.fixture(autouse=True)
def loggers_as_before() -> Iterator[None]:
    touched = [logging.root, logs.base_logger, logs.task_logger]
    kept = [(logger, logger.level, logger.propagate, list(logger.handlers)) for logger in touched]
    yield
    for logger, level, propagate, handlers in kept:
        logger.setLevel(level)
        logger.propagate = propagate
        for handler in set(logger.handlers) - set(handlers):
            logger.removeHandler(handler)
            handler.close()
        logger.handlers = handlers
    logging.captureWarnings(False)


@contextlib.contextmanager
def bare_root() -> Iterator[None]:
    """A root logger without handlers, as in a program that set up none (pytest adds its own to each test)."""
    handlers, logging.root.handlers = logging.root.handlers, []
    try:
        yield
    finally:
        logging.root.handlers = handlers


def set_up(conf: Settings, level: str, logfile: Path) -> None:
    with bare_root():
        logs.setup(conf, level, str(logfile))


def test_task_loggers_know_the_task(tmp_path: Path) -> None:
    logfile = tmp_path / "worker.log"
    set_up(Settings(), "INFO", logfile)
    logger = get_task_logger("proj.tasks_of_test")
    task: Task[..., Any] = Task()
    task.push_request(id="the-id", task="proj.add")
    logger.info("inside")
    task.pop_request()
    logger.info("outside")
    logging.getLogger("umbel.worker").info("ready")
    lines = logfile.read_text().splitlines()
    assert lines[0].endswith("INFO/MainProcess] proj.add[the-id]: inside")
    assert lines[1].endswith("INFO/MainProcess] ???[???]: outside")
    assert lines[2].endswith("INFO/MainProcess] ready")
    assert lines[2].startswith("[20")


def test_formats_are_settings(tmp_path: Path) -> None:
    logfile = tmp_path / "worker.log"
    conf = Settings(worker_log_format="%(levelname)s|%(message)s", worker_task_log_format="%(task_id)s|%(message)s")
    set_up(conf, "INFO", logfile)
    logging.getLogger("umbel.worker").info("one")
    get_task_logger("proj.tasks_of_test").info("two")
    assert logfile.read_text() == "INFO|one\n???|two\n"


def test_the_root_logger_is_left_alone(tmp_path: Path) -> None:
    with bare_root():
        logs.setup(Settings(), "DEBUG", str(tmp_path / "worker.log"))
        assert logging.root.handlers == []
    assert logging.root.level != logging.DEBUG


def test_an_application_that_logs_gets_our_records(caplog: pytest.LogCaptureFixture) -> None:
    logs.setup(Settings(), "INFO")
    logging.getLogger("umbel.worker").info("to the application's handlers")
    assert "to the application's handlers" in caplog.text
    assert logs.base_logger.handlers == []


def test_hijacking_on_request(tmp_path: Path) -> None:
    logfile = tmp_path / "worker.log"
    with bare_root():
        logging.root.addHandler(logging.StreamHandler(io.StringIO()))
        logs.setup(Settings(worker_hijack_root_logger=True), "INFO", str(logfile))
        logging.getLogger("anything").info("caught")
        for handler in logging.root.handlers:
            handler.close()
    assert logfile.read_text().endswith("caught\n")


def test_setting_up_twice_does_not_log_twice(tmp_path: Path) -> None:
    logfile = tmp_path / "worker.log"
    for _ in range(2):
        set_up(Settings(), "INFO", logfile)
    logging.getLogger("umbel.worker").info("once")
    assert logfile.read_text().count("once") == 1


def test_an_application_may_do_it_itself() -> None:
    seen: list[Any] = []

    def own(loglevel: int, **_: Any) -> None:
        seen.append(loglevel)

    signals.setup_logging.connect(own)
    try:
        with bare_root():
            logs.setup(Settings(), "INFO")
    finally:
        signals.setup_logging.disconnect(own)
    assert seen == [logging.INFO]
    assert logs.base_logger.handlers == []


def test_handlers_can_be_changed_afterwards() -> None:
    seen: list[logging.Logger] = []

    def receiver(logger: logging.Logger, **_: Any) -> None:
        seen.append(logger)

    signals.after_setup_logger.connect(receiver)
    signals.after_setup_task_logger.connect(receiver)
    with bare_root():
        logs.setup(Settings(), "INFO")
    signals.after_setup_logger.disconnect(receiver)
    signals.after_setup_task_logger.disconnect(receiver)
    assert seen == [logs.base_logger, logs.task_logger]


def test_colours() -> None:
    record = logging.LogRecord("x", logging.ERROR, "f", 1, "text", None, None)
    assert logs.ColorFormatter("%(message)s", True).format(record) == "\033[1;31mtext\033[0m"
    assert logs.ColorFormatter("%(message)s", False).format(record) == "text"


def test_levels() -> None:
    assert logs.level_number("debug") == logs.level_number("10") == logs.level_number(10) == 10
    assert logs.level_number(None) == logging.WARNING
    with pytest.raises(ImproperlyConfigured, match="LOUD"):
        logs.level_number("LOUD")


def test_reserved_names() -> None:
    with pytest.raises(RuntimeError, match="reserved"):
        get_task_logger("celery.task")


def test_prints_as_log_lines(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    logs.redirect_stdouts("WARNING")
    sys.stdout.write("printed\n\n")
    assert [(record.levelno, record.message) for record in caplog.records] == [(logging.WARNING, "printed")]
