"""Workflows: sent by Celery or Umbel, run by Celery, Umbel, or both at once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import celery
import celery.exceptions
import pytest
from apps.basic import notes
from servers.worker_process import WorkerProcess, wait_until

import umbel
import umbel.exceptions

PATIENCE = 30.0

#: Queue of each worker, and the one both serve.
QUEUES = {"celery": "for-celery", "umbel": "for-umbel", "both": "shared"}


@pytest.fixture(params=["celery", "umbel", "both"])
def queue(request: pytest.FixtureRequest, workers: dict[str, WorkerProcess]) -> str:
    """Each worker in turn, then both."""
    return QUEUES[request.param]


@pytest.fixture
def flow(producer: Any, queue: str) -> SimpleNamespace:
    """Words to write workflows with, of the producer's library, for that queue."""
    library: Any = umbel if isinstance(producer, umbel.Umbel) else celery

    def call(name: str) -> Any:
        task = producer.tasks[f"compat.{name}"]
        return lambda *args, **options: task.s(*args).set(queue=queue, **options)

    calls = {name: call(name) for name in ("add", "sum", "same", "fail", "replaced", "counted", "failed", "retry")}
    words = {name: getattr(library, name) for name in ("chain", "group", "chord")}
    return SimpleNamespace(**calls, **words, queue=queue, app=producer)


def get(result: Any) -> Any:
    # Each header is waited for by its body: nobody need ask for it.
    return result.get(timeout=PATIENCE)


FLOWS: dict[str, tuple[Any, Any]] = {
    "chain": (lambda f: f.chain(f.add(1, 1), f.add(2), f.add(3)), 7),
    "group": (lambda f: f.group(f.add(n, n) for n in range(4)), [0, 2, 4, 6]),
    "into-group": (lambda f: f.chain(f.add(1, 1), f.group(f.add(1), f.add(2))), [3, 4]),
    "chord": (lambda f: f.chord([f.add(n, n) for n in range(5)], f.sum()), 20),
    "chord-of-one": (lambda f: f.chord([f.add(1, 2)], f.sum()), 3),
    "upgraded": (lambda f: f.chain(f.add(1, 1), f.group(f.add(1), f.add(2)), f.sum(), f.add(100)), 107),
    "two-chords": (
        lambda f: f.group(f.add(1, 1), f.add(2, 2)) | f.sum() | f.group(f.add(1), f.add(2)) | f.sum() | f.add(1),
        16,
    ),
    "chains-in-chord": (lambda f: f.chord([f.chain(f.add(1, 1), f.add(2)), f.add(5, 5)], f.sum()), 14),
    "chord-in-chord": (
        lambda f: f.chord([f.chord([f.add(1, 1), f.add(2, 2)], f.sum()), f.add(4, 4)], f.sum()),
        14,
    ),
    "chord-in-body": (
        lambda f: f.chord([f.add(1, 1), f.add(2, 2)], f.chord([f.same(), f.same()], f.same())),
        [[2, 4], [2, 4]],
    ),
    "group-in-group": (lambda f: f.chord([f.group(f.add(1, 1), f.add(2, 2)), f.add(3, 3)], f.sum()), 12),
    "order": (lambda f: f.chord([f.same(n) for n in range(12)], f.same()), list(range(12))),
    "retry-in-chord": (lambda f: f.chord([f.retry(1), f.add(1, 1)], f.same()), None),
}


@pytest.mark.parametrize("name", FLOWS)
def test_values(flow: SimpleNamespace, name: str) -> None:
    make, expected = FLOWS[name]
    found = get(make(flow).apply_async())
    if expected is None:
        assert found[0][1] == 1
        assert found[1] == 2
    else:
        assert found == expected


@pytest.mark.parametrize(("how", "expected"), [("task", 6), ("group", [6, 7]), ("chain", 16)])
def test_replace(flow: SimpleNamespace, how: str, expected: Any) -> None:
    replaced = flow.replaced(5, flow.queue, how)
    assert get(replaced.apply_async()) == expected
    assert get(flow.chord([replaced.clone(), flow.same(1)], flow.same()).apply_async()) == [expected, 1]


def test_every_member_is_waited_for(flow: SimpleNamespace, notes_path: Path) -> None:
    header = [flow.counted(str(notes_path), number) for number in range(40)]
    total = flow.chord(header, flow.sum()).apply_async()
    assert get(total) == sum(range(40))
    ran = Counter(int(line.split()[0]) for line in notes(notes_path))
    assert ran == Counter(range(40))
    if flow.queue == "shared":
        assert {line.split()[1] for line in notes(notes_path)} == {"celery", "umbel"}


def test_a_member_that_fails(flow: SimpleNamespace, notes_path: Path) -> None:
    body = flow.sum(link_error=[flow.failed(str(notes_path))])
    result = flow.chord([flow.add(1, 1), flow.fail("value", "x")], body).apply_async()
    with pytest.raises((celery.exceptions.ChordError, umbel.exceptions.ChordError), match="raised ValueError"):
        result.get(timeout=PATIENCE, follow_parents=False)
    wait_until(lambda: bool(notes(notes_path)), PATIENCE, "the errback")
    assert [line.split()[0] for line in notes(notes_path)] == [result.id]


def test_ends_that_only_umbel_can_tell_of(
    flow: SimpleNamespace, notes_path: Path, workers: dict[str, WorkerProcess]
) -> None:
    # A member that has expired: the main process of Umbel's worker, which reads no bodies, has another task tell of it.
    body = flow.sum(link_error=[flow.failed(str(notes_path))])
    chords = [flow.chord([flow.add(1, 1), flow.add(2, 2, expires=-5)], body.clone()) for _ in range(8)]
    results = [each.apply_async() for each in chords]
    for result in results:
        with pytest.raises((celery.exceptions.ChordError, umbel.exceptions.ChordError), match="TaskRevokedError"):
            result.get(timeout=PATIENCE, follow_parents=False)
    wait_until(lambda: len(notes(notes_path)) >= len(results), PATIENCE, "the errbacks")
    assert sorted(line.split()[0] for line in notes(notes_path)) == sorted(result.id for result in results)
    assert "umbel." not in workers["celery"].log()


def test_members_that_keep_no_results(flow: SimpleNamespace) -> None:
    # What is counted is in the chord's own keys: nobody may look for it elsewhere.
    members = [[flow.same(number, ignore_result=True) for number in range(4)] for _ in range(8)]
    results = [flow.chord(header, flow.sum()).apply_async() for header in members]
    assert [get(result) for result in results] == [6] * 8


def test_a_step_that_fails(flow: SimpleNamespace, notes_path: Path) -> None:
    steps = flow.chain(flow.add(1, 1), flow.fail("value", "why", immutable=True), flow.same(), flow.same())
    result = steps.apply_async(link_error=flow.failed(str(notes_path)))
    with pytest.raises(ValueError, match="why"):
        result.get(timeout=PATIENCE, follow_parents=False)
    wait_until(lambda: bool(notes(notes_path)), PATIENCE, "the errback")
    assert len(notes(notes_path)) == 1
