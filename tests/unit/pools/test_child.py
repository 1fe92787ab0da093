"""The loop of a child: it runs jobs, retires at its limits, and is interrupted only by a limit of its own job."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, cast

import pytest

from umbel.exceptions import SoftTimeLimitExceeded
from umbel.pools.child import JobLoop, Retirement

if TYPE_CHECKING:
    from umbel._native import ChildLink


class Job:
    def __init__(self, id: str) -> None:
        self.id = id


class Link:
    """Hands out jobs; after `retire` only what was handed out counts."""

    def __init__(self, count: int) -> None:
        self.jobs = [Job(f"job-{number}") for number in range(count)]
        self.retired = False
        self.wants_relief = 0
        self.flushed = False
        self.limited: str | None = None

    def next(self, timeout: float | None = None) -> Job | None:
        return self.jobs.pop(0) if self.jobs and not self.retired else None

    def retire(self) -> None:
        self.retired = True

    def ask_for_relief(self) -> None:
        self.wants_relief += 1

    def flush(self) -> None:
        self.flushed = True

    def soft_limit_job(self) -> str | None:
        limited, self.limited = self.limited, None
        return limited


class Recorder:
    def __init__(self, during: Any = None) -> None:
        self.ran: list[str] = []
        self.during = during

    def run(self, job: Any, link: Any) -> None:
        self.ran.append(job.id)
        if self.during is not None:
            self.during(job, link)


def loop_over(link: Link, tracer: Recorder, **limits: Any) -> JobLoop:
    retirement = Retirement(cast("ChildLink", link), **limits) if limits else None
    return JobLoop(tracer, cast("ChildLink", link), retirement)


def test_runs_all_jobs_and_flushes() -> None:
    link, tracer = Link(3), Recorder()
    loop = loop_over(link, tracer)
    loop.run()
    assert tracer.ran == ["job-0", "job-1", "job-2"]
    assert loop.finished == 3
    assert link.flushed
    assert not link.retired


def test_asks_for_its_replacement_as_its_last_task_begins() -> None:
    retired_during: list[bool] = []
    link, tracer = Link(5), Recorder(lambda _job, link: retired_during.append(link.retired))
    loop_over(link, tracer, max_tasks=2).run()
    assert tracer.ran == ["job-0", "job-1"]
    assert retired_during == [False, True]
    assert link.retired
    assert link.flushed


def test_works_on_until_it_is_relieved_when_it_holds_too_much_memory_after_a_task() -> None:
    sizes = iter([100, 300, 400])
    wanted: list[int] = []
    link, tracer = Link(4), Recorder(lambda _job, link: wanted.append(link.wants_relief))
    loop_over(link, tracer, max_memory=250, memory=lambda: next(sizes)).run()
    assert wanted == [0, 0, 1, 1]
    assert link.wants_relief == 1
    assert not link.retired


def test_what_a_task_sets_in_context_variables_is_gone_with_it() -> None:
    seen: list[str] = []

    def task(job: Any, _link: Any) -> None:
        seen.append(variable.get())
        variable.set(job.id)

    variable: ContextVar[str] = ContextVar("variable", default="unset")
    loop_over(Link(2), Recorder(task)).run()
    assert seen == ["unset", "unset"]


def test_a_soft_limit_interrupts_the_job_it_is_for() -> None:
    def task(job: Any, link: Any) -> None:
        link.limited = "job-0"
        with pytest.raises(SoftTimeLimitExceeded):
            loop.on_soft_limit()

    link = Link(1)
    loop = loop_over(link, Recorder(task))
    loop.run()
    assert loop.finished == 1


def test_a_soft_limit_of_another_job_or_of_none_interrupts_nothing() -> None:
    def task(_job: Any, link: Any) -> None:
        link.limited = "another"
        loop.on_soft_limit()
        loop.on_soft_limit()

    link = Link(1)
    loop = loop_over(link, Recorder(task))
    loop.run()
    loop.on_soft_limit()
    assert loop.finished == 1


def test_a_soft_limit_just_after_the_outcome_does_not_end_the_child() -> None:
    def task(_job: Any, _link: Any) -> None:
        raise SoftTimeLimitExceeded

    link = Link(2)
    loop = loop_over(link, Recorder(task))
    loop.run()
    assert loop.finished == 2
