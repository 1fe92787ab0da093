"""Carries out planned faults on a running fleet, and writes down what it did to whom and when."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from servers.worker_process import alive, wait_until

from chaos import proxy, schedule
from chaos.brokers import Broker
from chaos.fleet import Client, Fleet, Member, Worker
from chaos.judge import SECOND, Strike
from chaos.schedule import Fault

#: A target that is being started again is asked again after this (seconds).
_AGAIN = 0.1
#: How far into its publish a producer comes before it dies, on average (microseconds).
_INTO_PUBLISH = 400
#: What outlives its worker's main process by this is reported (seconds).
_GONE_WITHIN = 5.0

Action = Callable[[], None]


class Injector:
    """Call `run_due` again and again.

    Args:
        seen: Names of the processes that have run a task: only those are worth a fault.
        start: The moment on the monotonic clock from which the faults' times count (seconds).
    """

    def __init__(self, faults: Sequence[Fault], fleet: Fleet, broker: Broker, seen: set[str], start: float) -> None:
        self._fleet = fleet
        self._broker = broker
        self._seen = seen
        self._numbers = itertools.count()
        self._due: list[tuple[float, int, Action]] = []
        self._dice = random.Random(len(faults))
        self._cut_links: dict[str, int] = {}
        #: Stopped processes, and what lets them go on.
        self._frozen: dict[int, Action] = {}
        #: Faults that have not begun: their time has not come, or their target is not ready.
        self.planned = len(faults)
        self.strikes: list[Strike] = []
        #: Processes that stayed after their worker's main process was killed.
        self.survivors: list[str] = []
        for fault in faults:
            self._at(start + fault.at, lambda fault=fault: self._carry_out(fault))  # type: ignore[misc]

    def run_due(self, now: float) -> None:
        """Does what is due at a moment (seconds)."""
        while self._due and self._due[0][0] <= now:
            heapq.heappop(self._due)[2]()

    def finish(self) -> None:
        """Ends all faults that last, at once, and does nothing more."""
        self._end_all()
        self._broker.heal([name for name, count in self._cut_links.items() if count])
        # What was waiting for the server has it now.
        self._end_all()

    def _end_all(self) -> None:
        ends = [action for _, _, action in sorted(self._due) if isinstance(action, _End)]
        self._due.clear()
        for end in ends:
            end()

    def _at(self, when: float, action: Action) -> None:
        heapq.heappush(self._due, (when, next(self._numbers), action))

    def _later(self, fault: Fault) -> None:
        """The target is not ready: tries again soon."""
        self.planned += 1
        self._at(time.monotonic() + _AGAIN, lambda: self._carry_out(fault))

    def _end(self, seconds: float, action: Action) -> None:
        self._at(time.monotonic() + seconds, _End(action))

    def _struck(self, fault: Fault, target: str, begin: int, pids: Sequence[int] = ()) -> None:
        self.strikes.append(Strike(fault.kind, target, begin, time.monotonic_ns(), tuple(pids)))

    # --- each kind

    def _carry_out(self, fault: Fault) -> None:
        self.planned -= 1
        if fault.kind in schedule.NETWORK:
            return self._network(fault)
        if fault.kind == schedule.KILL_SERVER:
            return self._server(fault)
        member = self._fleet.members[fault.target]
        if not member.running or not (isinstance(member, Client) or member.filled_by in self._seen):
            return self._later(fault)
        if isinstance(member, Client):
            return self._client(fault, member)
        assert isinstance(member, Worker)
        match fault.kind:
            case schedule.KILL_MAIN:
                self._kill_main(fault, member)
            case schedule.KILL_ZYGOTE:
                self._kill_zygote(fault, member)
            case schedule.STOP_MAIN:
                self._stop(fault, member, member.process.pid, ())
            case schedule.KILL_CHILD | schedule.STOP_CHILD:
                self._child(fault, member)
        return None

    def _kill_main(self, fault: Fault, member: Worker) -> None:
        family, begin = member.family(), time.monotonic_ns()
        member.kill()
        self._struck(fault, member.filled_by, begin)
        # What it held while it was stopped is free.
        self._frozen.get(member.process.pid, _nothing)()
        name = member.filled_by

        def look() -> None:
            self.survivors.extend(f"{pid} of {name}" for pid in family if alive(pid) and pid not in self._frozen)

        self._at(time.monotonic() + _GONE_WITHIN, look)

    def _kill_zygote(self, fault: Fault, member: Worker) -> None:
        zygote, begin = member.zygote(), time.monotonic_ns()
        if not zygote or not _signal(zygote, signal.SIGKILL):
            return self._later(fault)
        return self._struck(fault, member.filled_by, begin, (zygote,))

    def _child(self, fault: Fault, member: Worker) -> None:
        children = member.children()
        if not children:
            return self._later(fault)
        pid, begin = children[int(fault.pick * len(children))], time.monotonic_ns()
        if fault.kind == schedule.STOP_CHILD:
            return self._stop(fault, member, pid, (pid,))
        if not _signal(pid, signal.SIGKILL):
            return self._later(fault)
        return self._struck(fault, member.filled_by, begin, (pid,))

    def _stop(self, fault: Fault, member: Member, pid: int, pids: Sequence[int]) -> None:
        name, begin = member.filled_by, time.monotonic_ns()
        if pid in self._frozen or not _signal(pid, signal.SIGSTOP):
            return self._later(fault)

        def go_on() -> None:
            if self._frozen.pop(pid, None):
                _signal(pid, signal.SIGCONT)
                self._struck(fault, name, begin, pids)
                if held:
                    self._struck(replace(fault, kind=schedule.FILE_HELD), schedule.SERVER, begin)

        self._frozen[pid] = go_on
        wait_until(lambda: stopped(pid), 10, f"{name} stopped")
        held = not pids and self._broker.held_by(pid)
        return self._end(fault.seconds, go_on)

    def _client(self, fault: Fault, member: Client) -> None:
        begin = time.monotonic_ns()
        if fault.kind == schedule.KILL_PRODUCER:
            member.killed = True
            member.tell(f"die {round(self._dice.expovariate(1 / _INTO_PUBLISH))}\n")
        else:
            member.kill()
        self._struck(fault, member.filled_by, begin)

    def _server(self, fault: Fault) -> None:
        if not self._broker.up:
            return self._later(fault)
        begin = time.monotonic_ns()
        self._broker.kill()

        def up() -> None:
            if not self._broker.up:
                self._end(_AGAIN, up)
            else:
                self._struck(fault, schedule.SERVER, begin)

        def restart() -> None:
            self._broker.restart()
            up()

        return self._end(fault.seconds, restart)

    def _network(self, fault: Fault) -> None:
        link, begin = fault.target, time.monotonic_ns()
        if self._cut_links.get(link):
            return self._later(fault)
        self._broker.command(fault.kind, link)
        if fault.kind == schedule.CUT:
            return self._struck(fault, link, begin)
        self._cut_links[link] = 1

        def reopen() -> None:
            self._cut_links[link] = 0
            self._broker.command(proxy.OPEN, link)
            self._struck(fault, link, begin)

        return self._end(fault.seconds, reopen)


class _End:
    """The end of a fault that lasts: comes in any case."""

    def __init__(self, action: Action) -> None:
        self._action = action

    def __call__(self) -> None:
        self._action()


def _nothing() -> None: ...


def stopped(pid: int) -> bool:
    """Whether a process is stopped, or gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "TtZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def _signal(pid: int, number: int) -> bool:
    """Sends a signal; false when the process is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


__all__ = ["SECOND", "Injector"]
