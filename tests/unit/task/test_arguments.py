"""Checking a call against its function."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umbel.task.arguments import ArgumentCheck, open_positional_parameters


def plain(a: Any, b: Any, c: Any = 3) -> None: ...
def variadic(a: Any, *rest: Any, **more: Any) -> None: ...
def keyword(a: Any, *, k: Any, o: Any = 1) -> None: ...
def positional(a: Any, /, b: Any = 2) -> None: ...
def bound(self: Any, a: Any) -> None: ...


FUNCTIONS = [plain, variadic, keyword, positional]


@given(
    function=st.sampled_from(FUNCTIONS),
    count=st.integers(0, 5),
    names=st.sets(st.sampled_from(["a", "b", "c", "k", "o", "z"])),
)
def test_agrees_with_python(function: Any, count: int, names: set[str]) -> None:
    args, kwargs = (0,) * count, dict.fromkeys(names, 0)
    try:
        inspect.signature(function).bind(*args, **kwargs)
        fits = True
    except TypeError:
        fits = False
    check = ArgumentCheck(function, bound=False)
    if fits:
        check(args, kwargs)
    else:
        with pytest.raises(TypeError, match=f"^{function.__name__}\\(\\) "):
            check(args, kwargs)


def test_the_task_itself_is_no_argument() -> None:
    check = ArgumentCheck(bound, bound=True)
    check((1,), {})
    with pytest.raises(TypeError, match="missing"):
        check((), {})


@pytest.mark.parametrize(
    ("function", "is_bound", "expected"),
    [(plain, False, 3), (variadic, False, float("inf")), (keyword, False, 1), (bound, True, 1), (print, False, None)],
)
def test_open_parameters(function: Any, is_bound: bool, expected: float | None) -> None:
    found = open_positional_parameters(function, is_bound)
    assert found == (float("inf") if expected is None else expected)
