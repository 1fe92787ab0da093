"""The plan of faults: the same for the same seed, and dense enough."""

from __future__ import annotations

import pytest
from chaos import schedule


@pytest.mark.parametrize("broker", ["redis", "sqlite"])
def test_a_seed_gives_the_same_faults_each_time(broker: str) -> None:
    kinds = schedule.rows(broker)
    assert schedule.schedule(7, 600, 3.5, kinds) == schedule.schedule(7, 600, 3.5, kinds)
    assert schedule.schedule(7, 600, 3.5, kinds) != schedule.schedule(8, 600, 3.5, kinds)


@pytest.mark.parametrize("broker", ["redis", "sqlite"])
@pytest.mark.parametrize("seed", range(5))
def test_half_an_hour_has_more_than_three_hundred_kills(broker: str, seed: int) -> None:
    faults = schedule.schedule(seed, 1800, 3.5, schedule.rows(broker))
    assert sum(fault.kind.startswith("kill") for fault in faults) > 300
    assert [fault.at for fault in faults] == sorted(fault.at for fault in faults)
    assert {fault.kind for fault in faults} == {row.kind for row in schedule.rows(broker)}


def test_a_file_has_no_network_and_no_server() -> None:
    kinds = {row.kind for row in schedule.rows("sqlite")}
    assert not kinds & {*schedule.NETWORK, schedule.KILL_SERVER}
    assert kinds < {row.kind for row in schedule.rows("redis")}


def test_celery_is_hit_only_where_it_is() -> None:
    assert not any(schedule.CELERY in row.targets for row in schedule.rows("redis"))
    hit = {row.kind for row in schedule.rows("redis", with_celery=True) if schedule.CELERY in row.targets}
    assert {schedule.KILL_CHILD, schedule.KILL_MAIN} <= hit


def test_the_short_run_meets_every_kind_once() -> None:
    for broker in ("redis", "sqlite"):
        faults = schedule.each_once(broker, 0.5)
        assert {fault.kind for fault in faults} == {row.kind for row in schedule.rows(broker)}
