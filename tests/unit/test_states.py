"""States, against Celery's own."""

from __future__ import annotations

import pytest

from umbel import states

celery_states = pytest.importorskip("celery.states", reason="the peer of the comparison")


@pytest.mark.parametrize("name", [name for name in vars(celery_states) if name.isupper()])
def test_constants(name: str) -> None:
    assert getattr(states, name) == getattr(celery_states, name)


@pytest.mark.parametrize("one", [*sorted(states.ALL_STATES), "PROGRESS"])
@pytest.mark.parametrize("other", [*sorted(states.ALL_STATES), "PROGRESS"])
def test_order(one: str, other: str) -> None:
    ours, theirs = states.state(one), celery_states.state(one)
    assert (ours < other, ours <= other, ours > other, ours >= other) == (
        theirs < other,
        theirs <= other,
        theirs > other,
        theirs >= other,
    )
