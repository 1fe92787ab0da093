"""The table of settings, against Celery's own."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from umbel.config.settings import LATER, NONE, NOW, OLD_NAMES, SETTINGS

celery_defaults = pytest.importorskip("celery.app.defaults", reason="the peer of the comparison")

#: Settings Umbel has and Celery has not.
OURS = {
    "defaults",
    "revoke_expires",
    "task_max_deliveries",
    "task_queue_concurrency_limits",
    "worker_lease",
    "worker_processes",
    "worker_max_message_bytes",
    "worker_shutdown_timeout",
}

#: Where our default differs on purpose (docs/celery-parity.md says why).
DIFFERENT = {
    "beat_scheduler",
    "broker_connection_retry_on_startup",
    "redis_socket_keepalive",
    "redis_socket_timeout",
    "task_acks_late",
    "task_reject_on_worker_lost",
    "worker_autoscaler",
    "worker_consumer",
    "worker_hijack_root_logger",
    "worker_prefetch_multiplier",
    "worker_redirect_stdouts",
}


def plain(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value.total_seconds()
    return list(value) if isinstance(value, tuple) else value


def test_every_setting_of_celery_is_there_and_nothing_else() -> None:
    assert set(SETTINGS) == set(celery_defaults._OPTIONS) | OURS


@pytest.mark.parametrize("name", sorted(set(celery_defaults._OPTIONS)))
def test_celery_default(name: str) -> None:
    theirs = plain(celery_defaults._OPTIONS[name].default)
    assert plain(SETTINGS[name].celery_default) == theirs
    if name not in DIFFERENT:
        assert plain(SETTINGS[name].default) == theirs


def test_the_list_of_differences_is_true() -> None:
    found = {name for name, setting in SETTINGS.items() if setting.default != setting.celery_default}
    assert found - OURS == DIFFERENT


def test_old_names() -> None:
    missing = {old: new for old, new in celery_defaults._TO_NEW_KEY.items() if OLD_NAMES.get(old) != new}
    assert not missing


def test_every_setting_is_described() -> None:
    for setting in SETTINGS.values():
        assert setting.doc.endswith("."), setting.name
        assert setting.status in (NOW, LATER, NONE)
