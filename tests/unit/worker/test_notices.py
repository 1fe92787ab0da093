"""Log lines for what the engine tells."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from umbel.worker.notices import log_notice


@pytest.mark.parametrize(
    ("notice", "level", "text"),
    [
        (("received", "a.add", "id1", None), logging.INFO, "Task a.add[id1] received"),
        (
            ("received", "a.add", "id1", 1893456000.0),
            logging.INFO,
            "Task a.add[id1] received  ETA:[2030-01-01 00:00:00.000+00:00]",
        ),
        (("revoked", "a.add", "id1", ""), logging.INFO, "Discarding revoked task: a.add[id1]"),
        (("expired", "a.add", "id1", ""), logging.INFO, "Discarding expired task: a.add[id1]"),
        (
            ("dead", "", "", "not JSON"),
            logging.ERROR,
            "Message ?[?] went to the dead letters: not JSON (see: umbel dead list)",
        ),
        (("limit", "soft", "a.add", "id1", 2.5), logging.WARNING, "Soft time limit (2.5s) exceeded for a.add[id1]"),
        (("limit", "hard", "a.add", "id1", 3.0), logging.ERROR, "Hard time limit (3s) exceeded for a.add[id1]"),
        (("connected", "redis://h/0"), logging.INFO, "Connected to redis://h/0"),
        (
            ("disconnected", "redis://h/0", "refused", 2.0),
            logging.ERROR,
            "Cannot reach redis://h/0: refused. Trying again in 2.00 seconds...",
        ),
    ],
)
def test_lines(notice: tuple[Any, ...], level: int, text: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "umbel.worker"):
        log_notice(notice)
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [(level, text)]


def test_a_notice_from_a_newer_engine_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "umbel.worker"):
        log_notice(("something", 1))
    assert caplog.records[0].levelno == logging.DEBUG
