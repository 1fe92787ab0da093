"""A child's event loop: how much it does in one turn, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import select
import uuid
from typing import TYPE_CHECKING, Any, cast

import pytest

from umbel import Umbel
from umbel.exceptions import WorkerShutdown
from umbel.pools.child import Retirement
from umbel.pools.coroutine_loop import PORTION, CoroutineLoop, Turns, run_to_end

if TYPE_CHECKING:
    from umbel._native import ChildLink


class Job:
    """As the tracer sees it."""

    content_type, content_encoding, compression = "application/json", "utf-8", None
    group = parent_id = ignore_result = None
    retries = failed_deliveries = 0

    def __init__(self, number: int, task: str, *args: Any) -> None:
        self.number, self.task, self.args = number, task, list(args)
        self.id = f"job-{number}"
        self.headers = {"id": self.id, "task": task}

    def decode_json(self) -> Any:
        return self.args, {}, None


class Link:
    """Hands out jobs through a descriptor; ends when told, or when it retires."""

    def __init__(self, *jobs: Job) -> None:
        self.waiting = list(jobs)
        self.bell = os.eventfd(1, os.EFD_NONBLOCK)
        self.is_ending = False
        self.asked: list[tuple[int, str]] = []
        self.outcomes: dict[str, str] = {}
        self.records: dict[str, Any] = {}
        self.flushed = False
        self.wants_relief = False
        #: Called with each outcome.
        self.on_finish = lambda _state: None

    def fileno(self) -> int:
        return self.bell

    def ring(self) -> None:
        os.eventfd_write(self.bell, 1)

    def take(self, most: int) -> list[Job]:
        if select_readable(self.bell):
            os.eventfd_read(self.bell)
        taken, self.waiting = self.waiting[:most], self.waiting[most:]
        if most and self.waiting:
            self.ring()
        return taken

    def interruptions(self) -> list[tuple[int, str]]:
        asked, self.asked = self.asked, []
        return asked

    def interrupt(self, number: int, why: str) -> None:
        self.asked.append((number, why))
        self.ring()

    def finish(self, job: Job, state: str, disposition: str, record: bytes | None, *rest: Any, **more: Any) -> None:
        self.outcomes[job.id] = state
        self.records[job.id] = None if record is None else json.loads(record)
        self.on_finish(state)

    def retire(self) -> None:
        self.stop()

    def stop(self) -> None:
        self.is_ending = True
        self.waiting = []
        self.ring()

    def ask_for_relief(self) -> None:
        self.wants_relief = True

    def flush(self) -> None:
        self.flushed = True

    def close(self) -> None:
        os.close(self.bell)


def select_readable(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0)[0])


@pytest.fixture
def app() -> Any:
    name = f"memory://{uuid.uuid4()}"
    with Umbel("proj", broker=name, backend=name, set_as_current=False) as app:
        yield app


def run(app: Umbel, link: Link, slots: int = 100, **limits: Any) -> Link:
    child = cast("ChildLink", link)
    app.finalize()
    run_to_end(CoroutineLoop(app, "w@h", child, slots, Retirement(child, **limits)).run())
    link.close()
    return link


def stop_after(link: Link, count: int) -> None:
    """The main process says stop after so many outcomes."""
    link.on_finish = lambda _state: link.stop() if len(link.outcomes) == count else None


def test_jobs_begin_and_end_in_portions(app: Umbel) -> None:
    count = 6 * PORTION
    begun: list[int] = []
    ended: list[int] = []
    turn = 0
    release: asyncio.Event | None = None

    @app.task(name="wait")
    async def wait() -> None:
        nonlocal release
        if release is None:
            release = asyncio.Event()
            count_turns(asyncio.get_running_loop())
        begun.append(turn)
        if len(begun) == count:
            release.set()
        await release.wait()

    def count_turns(loop: asyncio.AbstractEventLoop) -> None:
        nonlocal turn
        turn += 1
        if len(ended) < count:
            loop.call_soon(count_turns, loop)

    link = Link(*(Job(number, "wait") for number in range(count)))

    def on_finish(_state: str) -> None:
        ended.append(turn)
        if len(ended) == count:
            link.stop()

    link.on_finish = on_finish
    run(app, link, slots=count)
    for moments in (begun, ended):
        assert max(moments.count(moment) for moment in set(moments)) <= PORTION


def test_a_portion_is_for_one_turn_of_the_loop() -> None:
    async def main() -> list[bool]:
        turns = Turns(2)
        first = [turns() is None for _ in range(3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return [*first, turns() is None, turns() is None]

    assert asyncio.run(main()) == [True, True, False, True, True]


def test_no_more_run_at_a_time_than_there_are_slots(app: Umbel) -> None:
    running: list[int] = [0]
    most: list[int] = []

    @app.task(name="count")
    async def count() -> None:
        running[0] += 1
        most.append(running[0])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        running[0] -= 1

    link = Link(*(Job(number, "count") for number in range(20)))
    stop_after(link, 20)
    run(app, link, slots=3)
    assert max(most) == 3
    assert set(link.outcomes.values()) == {"SUCCESS"}


def test_running_jobs_end_before_the_child_does(app: Umbel) -> None:
    @app.task(name="stop")
    async def stop() -> str:
        link.stop()
        await asyncio.sleep(0.01)
        return "done"

    link = Link(Job(1, "stop"))
    run(app, link)
    assert link.outcomes == {"job-1": "SUCCESS"}
    assert link.flushed


def test_it_retires_as_its_last_job_begins(app: Umbel) -> None:
    ending: list[bool] = []

    @app.task(name="look")
    async def look() -> None:
        await asyncio.sleep(0)
        ending.append(link.is_ending)

    link = Link(*(Job(number, "look") for number in range(5)))
    run(app, link, max_tasks=2)
    assert sorted(link.outcomes) == ["job-0", "job-1"]
    assert ending == [True, True]


def test_it_works_on_until_it_is_relieved_when_it_holds_too_much_memory(app: Umbel) -> None:
    app.task(name="add")(lambda: None)
    link = Link(*(Job(number, "add") for number in range(3)))
    stop_after(link, 3)
    run(app, link, slots=1, max_memory=100, memory=lambda: 200)
    assert len(link.outcomes) == 3
    assert link.wants_relief


@pytest.mark.parametrize(("why", "state", "error"), [
    ("soft", "FAILURE", "SoftTimeLimitExceeded"), ("hard", "FAILURE", "TimeLimitExceeded"),
    ("revoked", "REVOKED", "TaskRevokedError"),
])  # fmt: skip
def test_interruptions_reach_their_job_and_no_other(app: Umbel, why: str, state: str, error: str) -> None:
    @app.task(name="wait", time_limit=7)
    async def wait(interrupted: bool) -> None:
        if interrupted:
            link.interrupt(1, why)
            await asyncio.get_running_loop().create_future()
        while len(link.outcomes) < 1:
            await asyncio.sleep(0)

    link = Link(Job(1, "wait", True), Job(2, "wait", False))
    stop_after(link, 2)
    run(app, link)
    assert link.outcomes == {"job-1": state, "job-2": "SUCCESS"}
    assert link.records["job-1"]["status"] == state
    assert link.records["job-1"]["result"]["exc_type"] == error


def test_a_task_may_end_its_process_and_lets_the_others_end(app: Umbel) -> None:
    @app.task(name="leave")
    async def leave() -> None:
        raise WorkerShutdown

    @app.task(name="wait")
    async def wait() -> None:
        while not link.is_ending:
            await asyncio.sleep(0)

    link = Link(Job(1, "wait"), Job(2, "leave"))
    run(app, link)
    assert link.outcomes == {"job-1": "SUCCESS", "job-2": "FAILURE"}


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_what_ends_a_loop_as_a_rule_ends_one_task_here(app: Umbel, error: type[BaseException]) -> None:
    async def part() -> None:
        raise error

    @app.task(name="split")
    async def split() -> None:
        await asyncio.gather(part())

    @app.task(name="wait")
    async def wait() -> None:
        while not link.outcomes:
            await asyncio.sleep(0)

    link = Link(Job(1, "wait"), Job(2, "split"))
    link.on_finish = lambda _state: link.stop()
    run(app, link)
    assert link.outcomes == {"job-1": "SUCCESS", "job-2": "FAILURE"}


def test_what_tasks_leave_running_is_cancelled_at_the_end(app: Umbel) -> None:
    ended: list[str] = []

    async def background() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append("background")

    left: list[asyncio.Task[None]] = []

    @app.task(name="leave")
    async def leave() -> None:
        left.append(asyncio.get_running_loop().create_task(background()))
        await asyncio.sleep(0)

    link = Link(Job(1, "leave"))
    stop_after(link, 1)
    run(app, link)
    assert ended == ["background"]


def test_tasks_that_are_unknown_are_refused(app: Umbel) -> None:
    link = Link(Job(1, "nobody"))
    stop_after(link, 1)
    run(app, link)
    assert link.outcomes == {"job-1": "FAILURE"}
