"""Exceptions in records."""

from __future__ import annotations

import json
from typing import Any

import pytest

from umbel import exceptions
from umbel.exceptions import SecurityError, UnpickleableExceptionWrapper
from umbel.result.failures import portable, rebuild, restore_wrapped, to_fields


class Plain(Exception):
    pass


class KeywordOnly(Exception):
    def __init__(self, *, code: int) -> None:
        super().__init__()
        self.code = code


class Derived(Plain):
    def __init__(self, a: int) -> None:
        super().__init__(a, a)


class Exiting(Exception):
    def __init__(self, *_: object) -> None:
        raise SystemExit(1)


class Outer:
    class Inner(Exception):
        pass


class BadRepr:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def fields(error: BaseException) -> dict[str, Any]:
    return to_fields(portable(error), json.dumps)


def test_forms() -> None:
    assert fields(KeyError("missing")) == {
        "exc_type": "KeyError",
        "exc_message": ["missing"],
        "exc_module": "builtins",
    }
    assert fields(Outer.Inner())["exc_type"] == "Outer.Inner"
    assert fields(exceptions.TimeLimitExceeded(3))["exc_module"] == "billiard.exceptions"
    message = fields(Plain("first", {1, 2}, BadRepr()))["exc_message"]
    assert message == ["first", "{1, 2}", "<BadRepr whose repr raised RuntimeError>"]


def test_what_cannot_be_rebuilt_becomes_its_nearest_base() -> None:
    assert type(portable(Derived(1))) is Plain
    wrapper = portable(KeywordOnly(code=7))
    assert isinstance(wrapper, UnpickleableExceptionWrapper)
    assert fields(KeywordOnly(code=7)) == {
        "exc_type": "UnpickleableExceptionWrapper",
        "exc_message": [__name__, "KeywordOnly", [], "KeywordOnly()"],
        "exc_module": "celery.utils.serialization",
    }
    assert str(wrapper) == "KeywordOnly()"
    restored = restore_wrapped(wrapper)
    assert (type(restored).__name__, type(restored).__module__) == ("KeywordOnly", __name__)


def test_the_traceback_stays() -> None:
    with pytest.raises(KeywordOnly) as caught:
        raise KeywordOnly(code=1)
    assert portable(caught.value).__traceback__ is caught.value.__traceback__


@pytest.mark.parametrize(
    "error",
    [
        KeyError("x"),
        Plain("a", 1),
        Outer.Inner("b"),
        exceptions.TaskRevokedError("expired"),
        exceptions.Reject("no", False),
    ],
)
def test_there_and_back(error: Exception) -> None:
    back = rebuild(fields(error))
    assert type(back) is type(error)
    assert back is not None
    assert back.args == error.args


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("celery.exceptions", "ChordError"),
        ("billiard.exceptions", "WorkerLostError"),
        ("celery.exceptions", "WorkerLostError"),
        ("kombu.exceptions", "EncodeError"),
    ],
)
def test_celerys_classes_become_ours(module: str, name: str) -> None:
    back = rebuild({"exc_type": name, "exc_module": module, "exc_message": ["x"]})
    assert type(back) is getattr(exceptions, name)


def test_unknown_classes_get_a_stand_in() -> None:
    back = rebuild({"exc_type": "Gone", "exc_module": "not.imported", "exc_message": "text"})
    assert (type(back).__name__, type(back).__module__, back.args) == ("Gone", "not.imported", ("text",))  # type: ignore[union-attr]
    assert type(rebuild({"exc_type": "Gone", "exc_message": []})).__name__ == "Gone"


@pytest.mark.parametrize(
    ("module", "name"), [("os", "system"), ("builtins", "eval"), ("builtins", "object"), ("os", "path")]
)
def test_nothing_else_is_called(module: str, name: str) -> None:
    with pytest.raises(SecurityError, match=name):
        rebuild({"exc_type": name, "exc_module": module, "exc_message": ["true"]})


def test_a_constructor_that_fails() -> None:
    back = rebuild({"exc_type": "KeywordOnly", "exc_module": __name__, "exc_message": [1]})
    assert type(back) is Exception
    assert "KeywordOnly" in str(back)


def test_a_constructor_that_exits_does_not_end_who_waits() -> None:
    error = rebuild({"exc_type": "Exiting", "exc_module": __name__, "exc_message": ["x"]})
    assert type(error) is Exception
    assert "Exiting" in str(error)


def test_what_is_no_description() -> None:
    assert rebuild(None) is None
    for wrong in ("text", {"exc_message": []}, [1]):
        with pytest.raises(ValueError, match="exc_type"):
            rebuild(wrong)
