"""Interrupting a coroutine: what it sees, and what comes of it."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from umbel.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from umbel.execution.coroutines import CoroutineRun, Interruption, interrupt_alone, run_alone
from umbel.execution.failure import Revoked

Body = Callable[[], Coroutine[Any, Any, Any]]


def interrupted(body: Body, *reasons: Interruption, hard_limit: float | None = None) -> Any:
    """What `drive` returns or raises when its coroutine is interrupted wherever it waits for ever."""

    async def main() -> Any:
        run = CoroutineRun()
        driven = asyncio.get_running_loop().create_task(run.drive(body()))
        for why in reasons:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            run.interrupt(why, hard_limit)
        return await driven

    return asyncio.run(main())


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


def test_what_is_not_interrupted_goes_through() -> None:
    async def body() -> int:
        await asyncio.sleep(0)
        return 5

    assert interrupted(body) == 5


def test_a_soft_limit_can_be_caught_under_its_name() -> None:
    async def body() -> str:
        try:
            await forever()
        except SoftTimeLimitExceeded as error:
            await asyncio.sleep(0)
            return repr(isinstance(error, asyncio.CancelledError))
        return "never"

    assert interrupted(body, "soft") == "True"


def test_a_soft_limit_that_is_not_caught_is_plain_celery_s() -> None:
    with pytest.raises(SoftTimeLimitExceeded) as caught:
        interrupted(forever, "soft")
    assert type(caught.value) is SoftTimeLimitExceeded


def test_a_soft_limit_leaves_later_waits_alone() -> None:
    async def body() -> list[str]:
        seen = []
        try:
            await forever()
        except SoftTimeLimitExceeded:
            seen.append("soft")
        try:
            await asyncio.wait_for(forever(), 0.001)
        except asyncio.TimeoutError:
            seen.append("timeout")
        return seen

    assert interrupted(body, "soft") == ["soft", "timeout"]


def test_what_waits_below_is_cancelled() -> None:
    ended: list[str] = []

    async def part(name: str) -> None:
        try:
            await forever()
        finally:
            ended.append(name)

    async def body() -> None:
        await asyncio.gather(part("a"), part("b"))

    with pytest.raises(SoftTimeLimitExceeded):
        interrupted(body, "soft")
    assert sorted(ended) == ["a", "b"]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="task groups came with Python 3.11")
@pytest.mark.parametrize("where", ["in", "after"])
def test_a_task_group_ends_its_tasks(where: str) -> None:
    ended: list[str] = []

    async def part() -> None:
        try:
            await forever()
        finally:
            ended.append("part")

    async def body() -> None:
        async with asyncio.TaskGroup() as group:  # type: ignore[attr-defined, unused-ignore]
            group.create_task(part())
            if where == "in":
                await forever()

    with pytest.raises(SoftTimeLimitExceeded):
        interrupted(body, "soft")
    assert ended == ["part"]


def test_a_hard_limit_cancels() -> None:
    seen: list[str] = []

    async def body() -> None:
        try:
            await forever()
        except asyncio.CancelledError as error:
            seen.append(type(error).__name__)
            raise

    with pytest.raises(TimeLimitExceeded) as caught:
        interrupted(body, "hard", hard_limit=7)
    assert caught.value.args == (7,)
    assert seen == ["CancelledError"]


def test_a_hard_limit_after_a_soft_one() -> None:
    async def body() -> None:
        try:
            await forever()
        except SoftTimeLimitExceeded:
            await forever()

    with pytest.raises(TimeLimitExceeded):
        interrupted(body, "soft", "hard")


def test_what_ends_well_in_spite_of_its_limit_has_ended_well() -> None:
    async def body() -> str:
        try:
            await forever()
        except asyncio.CancelledError:
            return "saved"
        return "never"

    assert interrupted(body, "hard") == "saved"


def test_a_revocation() -> None:
    with pytest.raises(Revoked, match="terminated"):
        interrupted(forever, "revoked")


def test_a_cancellation_of_its_own_stays_one() -> None:
    async def body() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    with pytest.raises(asyncio.CancelledError):
        interrupted(body)


def test_an_interruption_before_the_first_step_is_not_lost() -> None:
    async def main() -> None:
        run = CoroutineRun()
        run.interrupt("soft")
        await run.drive(forever())

    with pytest.raises(SoftTimeLimitExceeded):
        asyncio.run(main())


def test_an_interruption_after_the_end_does_nothing() -> None:
    async def main() -> str:
        run = CoroutineRun()
        await run.drive(asyncio.sleep(0))
        run.interrupt("hard")
        await asyncio.sleep(0)
        return "undisturbed"

    assert asyncio.run(main()) == "undisturbed"


# --- pools without a loop


@pytest.fixture
def soft_limit_signal() -> Iterator[None]:
    """SIGUSR1 as a prefork child takes it."""

    def on_signal(*_: object) -> None:
        if not interrupt_alone():
            raise SoftTimeLimitExceeded

    former = signal.signal(signal.SIGUSR1, on_signal)
    yield
    signal.signal(signal.SIGUSR1, former)


@pytest.mark.usefixtures("soft_limit_signal")
def test_a_signal_reaches_a_coroutine_that_waits() -> None:
    async def body() -> str:
        asyncio.get_running_loop().call_later(0.01, signal.raise_signal, signal.SIGUSR1)
        try:
            await forever()
        except SoftTimeLimitExceeded:
            return "interrupted"
        return "never"

    assert run_alone(body()) == "interrupted"


@pytest.mark.usefixtures("soft_limit_signal")
def test_a_signal_reaches_a_coroutine_that_computes() -> None:
    async def body() -> str:
        try:
            signal.raise_signal(signal.SIGUSR1)
        except SoftTimeLimitExceeded:
            return "interrupted"
        return "never"

    assert run_alone(body()) == "interrupted"


def test_nothing_is_interrupted_where_no_coroutine_runs() -> None:
    run_alone(asyncio.sleep(0))
    assert not interrupt_alone()


def test_beside_a_loop_that_runs() -> None:
    """As when a coroutine calls `apply`, or `delay` with `task_always_eager`."""

    async def inner() -> str:
        await asyncio.sleep(0)
        return "inner"

    async def outer() -> Any:
        return run_alone(inner())

    assert asyncio.run(outer()) == "inner"

    async def failing() -> None:
        raise KeyError("inner")

    async def outer_of_failing() -> Any:
        return run_alone(failing())

    with pytest.raises(KeyError):
        asyncio.run(outer_of_failing())
