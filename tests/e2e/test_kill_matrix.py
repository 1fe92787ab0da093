"""The kill matrix in short: every kind of fault once, under load. `make chaos` is the long form."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from chaos import ledger, schedule
from chaos.run import Plan, Run
from servers.redis_server import require_redis


@pytest.mark.parametrize("broker", ["sqlite", "redis"])
def test_whatever_is_killed_nothing_is_lost_and_every_repeat_has_its_reason(broker: str, tmp_path: Path) -> None:
    if broker == "redis":
        require_redis()
    faults = schedule.each_once(broker, 0.7)
    # How fast they come back is `make chaos`'s to say: here the machine may be busy.
    plan = Plan(broker, faults, seconds=faults[-1].at + 1, tasks=300, rate=60, bar=60)
    outcome = Run(plan, tmp_path).go()
    assert outcome.failures() == []
    # The run was what it claims to be: all faults hit, and the fleet was at work.
    planned = Counter(fault.kind for fault in faults)
    assert Counter(strike.kind for strike in outcome.strikes if strike.kind in planned) == planned
    verdict = outcome.verdict
    assert verdict.confirmed >= 300
    assert verdict.finished >= verdict.confirmed - verdict.early
    by = {entry.by.partition("-")[0] for entry in ledger.read(tmp_path / "ledger")}
    assert by == {*schedule.WORKERS, *schedule.PRODUCERS, *schedule.WAITERS}
