"""The workflows that are measured, written once for every library that has Celery's words for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

#: Members of each chord of those that are nested.
MEMBERS = 10


class Words(NamedTuple):
    """What a library calls its workflows, and the tasks of `benches.work`."""

    chain: Any
    group: Any
    chord: Any
    tasks: Mapping[str, Any]


def chord(words: Words, size: int) -> Any:
    """So many members, and a body that adds up what they return."""
    step, total = words.tasks["step"], words.tasks["total"]
    return words.chord([step.s(number) for number in range(size)], total.s())


def chain(words: Words, size: int) -> Any:
    """So many steps, each of which adds one to what the one before returned."""
    step = words.tasks["step"]
    return words.chain(step.s(0), *(step.s() for _ in range(size - 1)))


def group(words: Words, size: int) -> Any:
    """So many members."""
    step = words.tasks["step"]
    return words.group(step.s(number) for number in range(size))


def nested(words: Words, size: int) -> Any:
    """So many chords, each of them the body of the one before."""
    step, flow = words.tasks["step"], words.tasks["total"].s()
    for _ in range(size):
        flow = words.chord([step.si(number) for number in range(MEMBERS)], flow)
    return flow


class Workflow(NamedTuple):
    """Attributes: how it is made, and what it returns."""

    build: Callable[[Words, int], Any]
    expected: Callable[[int], Any]


WORKFLOWS = {
    "chord": Workflow(chord, lambda size: size * (size + 1) // 2),
    "chain": Workflow(chain, lambda size: size),
    "group": Workflow(group, lambda size: list(range(1, size + 1))),
    "nested": Workflow(nested, lambda size: MEMBERS * (MEMBERS + 1) // 2),
}
