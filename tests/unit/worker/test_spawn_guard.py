"""Children that die as they start are not started in a tight loop."""

from __future__ import annotations

from umbel.worker.spawn_guard import FIRST_PAUSE, LIMIT, LONGEST_PAUSE, SpawnGuard


def die_at_start(guard: SpawnGuard, child: int, now: float) -> float | None:
    guard.born(child, now)
    return guard.died(child, worked=False, now=now + 0.01)


def test_single_deaths_cause_no_pause() -> None:
    guard = SpawnGuard()
    assert [die_at_start(guard, child, child * 10.0) for child in range(20)] == [None] * 20
    assert guard.delay(200.0) == 0


def test_many_deaths_in_a_second_cause_pauses_that_grow() -> None:
    guard = SpawnGuard()
    now, pauses = 100.0, []
    for child in range(LIMIT + 10):
        pause = die_at_start(guard, child, now)
        if pause is not None:
            pauses.append(pause)
            assert guard.delay(now) > 0
            now += pause + 0.02
        now += 0.05
    assert pauses[0] == FIRST_PAUSE
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE


def test_children_of_one_batch_make_one_pause() -> None:
    guard = SpawnGuard()
    pauses = [die_at_start(guard, child, 1.0 + child / 1000) for child in range(LIMIT + 3)]
    assert [pause for pause in pauses if pause] == [FIRST_PAUSE]


def test_a_child_that_worked_ends_the_alarm() -> None:
    guard = SpawnGuard()
    for child in range(LIMIT):
        die_at_start(guard, child, 1.0)
    guard.born(99, 3.0)
    assert guard.died(99, worked=True, now=3.1) is None
    assert die_at_start(guard, 100, 4.0) is None


def test_a_child_that_lived_is_no_alarm() -> None:
    guard = SpawnGuard()
    for child in range(LIMIT * 2):
        guard.born(child, 0.0)
        assert guard.died(child, worked=False, now=5.0) is None
