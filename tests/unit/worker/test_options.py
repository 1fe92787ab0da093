"""What a worker is told becomes what the engine is told."""

from __future__ import annotations

from typing import Any

import pytest

from umbel.config import Settings
from umbel.exceptions import ImproperlyConfigured
from umbel.pools.cpu_count import usable_cpus
from umbel.pools.description import SETTINGS, consumed_queues
from umbel.routing import queues_from_conf
from umbel.worker.options import WorkerOptions, engine_options
from umbel.worker.supervisor import RetryLimits
from umbel.worker.worker import refuse_root_with_pickle


def settings(**changes: Any) -> dict[str, Any]:
    """As an app describes them."""
    conf = Settings(**changes)
    return {name: conf[name] for name in SETTINGS}


@pytest.mark.parametrize(
    ("option", "setting", "pool", "slots"),
    [
        (3, None, "prefork", 3),
        (None, 5, "threads", 5),
        (3, 5, "prefork", 3),
        (3, 5, "solo", 1),
        (None, "auto", "prefork", usable_cpus()),
        (None, None, "prefork", usable_cpus()),
    ],
)
def test_concurrency(option: int | None, setting: Any, pool: str, slots: int) -> None:
    assert WorkerOptions(concurrency=option).slots(settings(worker_concurrency=setting), pool) == slots


@pytest.mark.parametrize("wrong", ["many", -1, 0.5])
def test_a_concurrency_that_is_none(wrong: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match="worker_concurrency"):
        WorkerOptions(concurrency=wrong).slots(settings(), "prefork")


@pytest.mark.parametrize(("option", "disable", "multiplier"), [(None, True, 1), (8, True, 1), (8, False, 8)])
def test_prefetching_can_be_turned_off(option: int | None, disable: bool, multiplier: int) -> None:
    options = WorkerOptions(hostname="w1@h", prefetch_multiplier=option)
    found = engine_options(options, settings(worker_disable_prefetch=disable), ["application/json"], ["a"])
    assert found["prefetch_multiplier"] == multiplier


def test_the_engine_hears_of_settings_and_options() -> None:
    found = engine_options(
        WorkerOptions(hostname="w1@h", prefetch_multiplier=2),
        settings(broker_url="redis://h", worker_shutdown_timeout=None, task_max_deliveries=7, timezone="Europe/Oslo"),
        ["application/json"],
        ["a", "b"],
    )
    assert found["hostname"] == "w1@h"
    assert found["queues"] == ["a", "b", "a.umbel", "b.umbel"]
    assert found["own_queue_suffix"] == ".umbel"
    assert found["prefetch_multiplier"] == 2
    assert found["shutdown_timeout"] is None
    assert found["max_deliveries"] == 7
    assert found["timezone"] == "Europe/Oslo"
    assert "lease" not in found


def test_limits_of_the_command_line_reach_the_app() -> None:
    request = WorkerOptions(time_limit=5, queues=["a"], exclude_queues=["b"]).load_request
    assert request.settings == {"task_time_limit": 5}
    assert (list(request.queues), list(request.exclude_queues)) == (["a"], ["b"])


def test_queues() -> None:
    conf = Settings(task_queues={"a": {"exchange": "x", "exchange_type": "topic", "routing_key": "a.#"}, "b": {}})
    both = consumed_queues(queues_from_conf(conf))
    assert [queue["name"] for queue in both] == ["a", "b"]
    assert both[0] == {"name": "a", "exchange": "x", "routing_key": "a.#", "kind": "topic"}
    assert [queue["name"] for queue in consumed_queues(queues_from_conf(conf), without=["a"])] == ["b"]
    assert [queue["name"] for queue in consumed_queues(queues_from_conf(conf), ["new", "a"])] == ["new", "a"]
    with pytest.raises(ImproperlyConfigured, match="excludes all of a"):
        consumed_queues(queues_from_conf(conf), ["a"], ["a"])


@pytest.mark.parametrize(
    ("changes", "limits"),
    [
        ({}, RetryLimits(100, 100)),
        ({"broker_connection_max_retries": None}, RetryLimits(None, None)),
        ({"broker_connection_max_retries": 0}, RetryLimits(None, None)),
        ({"broker_connection_retry": False}, RetryLimits(100, 0)),
        ({"broker_connection_retry": False, "broker_connection_retry_on_startup": None}, RetryLimits(0, 0)),
        ({"broker_connection_retry_on_startup": False}, RetryLimits(0, 100)),
    ],
)
def test_how_often_the_broker_is_tried(changes: dict[str, Any], limits: RetryLimits) -> None:
    assert RetryLimits.from_settings(settings(**changes)) == limits


def test_root_does_not_take_pickles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("C_FORCE_ROOT", raising=False)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    refuse_root_with_pickle(["application/json"])
    with pytest.raises(ImproperlyConfigured, match="C_FORCE_ROOT"):
        refuse_root_with_pickle(["application/json", "application/x-python-serialize"])
    monkeypatch.setenv("C_FORCE_ROOT", "1")
    refuse_root_with_pickle(["application/x-python-serialize"])
    monkeypatch.delenv("C_FORCE_ROOT")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    refuse_root_with_pickle(["application/x-python-serialize"])
