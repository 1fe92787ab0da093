"""How faults are carried out, on a fleet and a broker that only note what is done to them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from chaos import proxy, schedule
from chaos.injector import Injector
from chaos.schedule import Fault


class NotedBroker:
    """A broker that notes what is asked of it."""

    def __init__(self) -> None:
        self.up = True
        self.done: list[str] = []

    def command(self, command: str, link: str) -> None:
        self.done.append(f"{command} {link}")

    def kill(self) -> None:
        self.up = False
        self.done.append("kill")

    def restart(self) -> None:
        self.done.append("restart")

    def heal(self, _links: object) -> None:
        self.up = True


def injector(broker: NotedBroker, *faults: Fault) -> Injector:
    fleet: Any = SimpleNamespace(members={})
    given: Any = broker
    return Injector(faults, fleet, given, set(), 0.0)


def test_faults_come_at_their_time_and_in_order() -> None:
    broker = NotedBroker()
    struck = injector(broker, Fault(2, schedule.CUT, "w2"), Fault(1, schedule.CUT, "w1"))
    struck.run_due(0.5)
    assert (broker.done, struck.planned) == ([], 2)
    struck.run_due(1.5)
    assert broker.done == ["cut w1"]
    struck.run_due(2.0)
    assert (broker.done, struck.planned) == (["cut w1", "cut w2"], 0)
    assert [strike.target for strike in struck.strikes] == ["w1", "w2"]


def test_a_fault_that_lasts_is_noted_when_it_ends() -> None:
    broker = NotedBroker()
    struck = injector(broker, Fault(1, schedule.BLACKHOLE, "w1", 3600))
    struck.run_due(1)
    assert struck.strikes == []
    struck.finish()
    assert broker.done == ["blackhole w1", f"{proxy.OPEN} w1"]
    (strike,) = struck.strikes
    assert strike.kind == schedule.BLACKHOLE
    assert strike.end >= strike.begin


def test_a_link_is_hit_by_one_fault_at_a_time() -> None:
    broker = NotedBroker()
    struck = injector(broker, Fault(1, schedule.REFUSE, "w1", 3600), Fault(2, schedule.CUT, "w1"))
    struck.run_due(3)
    assert (broker.done, struck.planned) == (["refuse w1"], 1)


def test_a_server_that_is_down_at_the_end_is_noted_too() -> None:
    broker = NotedBroker()
    struck = injector(broker, Fault(1, schedule.KILL_SERVER, schedule.SERVER, 3600))
    struck.run_due(1)
    assert broker.done == ["kill"]
    struck.finish()
    assert [strike.kind for strike in struck.strikes] == [schedule.KILL_SERVER]
    struck.finish()
    assert len(struck.strikes) == 1
