"""Errors and the names they carry in records."""

from __future__ import annotations

import inspect
import pickle
from datetime import datetime
from types import ModuleType
from typing import Any

import pytest

from umbel import _native, exceptions
from umbel.exceptions import from_native, wire_class, wire_module

celery_exceptions = pytest.importorskip("celery.exceptions", reason="the peer of the comparison")

#: What Celery has beside error classes, and one class of its command line.
NOT_OURS = {"reraise", "CeleryCommandException"}


def classes(module: ModuleType) -> dict[str, type]:
    return {name: value for name, value in vars(module).items() if inspect.isclass(value) and not name.startswith("_")}


def test_every_name_of_celery_is_there() -> None:
    assert not set(celery_exceptions.__all__) - NOT_OURS - set(exceptions.__all__)


def kin() -> list[tuple[type, type]]:
    ours, theirs = classes(exceptions), classes(celery_exceptions)
    return [
        (ours[name], theirs[name])
        for name in sorted(set(ours) & set(theirs))
        if issubclass(theirs[name], BaseException)
    ]


@pytest.mark.parametrize(("ours", "theirs"), kin())
def test_bases_are_those_of_celery(ours: type, theirs: type) -> None:
    def names(cls: type) -> list[str]:
        renamed = {"CeleryError": "UmbelError", "CeleryWarning": "UmbelWarning"}
        return [
            renamed.get(base.__name__, base.__name__) for base in cls.__mro__ if base.__module__ != "click.exceptions"
        ]

    assert names(ours) == names(theirs)


@pytest.mark.parametrize(("ours", "theirs"), kin())
def test_records_carry_the_module_of_the_genuine_class(ours: type[BaseException], theirs: type) -> None:
    assert wire_module(ours) == theirs.__module__
    assert wire_class(theirs.__module__, theirs.__name__) is ours


def test_other_modules_are_left_alone() -> None:
    assert wire_module(ValueError) == "builtins"
    assert wire_class("builtins", "ValueError") is None


def test_retry_says_when_and_why() -> None:
    assert str(exceptions.Retry(exc=ValueError("x"), when=3)) == "Retry in 3s: ValueError('x')"
    assert str(exceptions.Retry(when=datetime(2030, 1, 2))) == "Retry at 2030-01-02 00:00:00"
    assert str(exceptions.Retry("again")) == "again"
    back = pickle.loads(pickle.dumps(exceptions.Retry(exc=ValueError("x"), when=3)))
    assert (back.excs, back.when) == ("ValueError('x')", 3)


@pytest.mark.parametrize(
    ("native", "public"),
    [
        (_native.ConnectionLostError("gone"), exceptions.OperationalError),
        (_native.UnavailableError("gone"), exceptions.OperationalError),
        (_native.AccessError("no"), exceptions.OperationalError),
        (_native.ProtocolError("WRONGTYPE"), exceptions.OperationalError),
        (_native.ConfigError("bad"), exceptions.ImproperlyConfigured),
        (_native.MalformedError("bad"), exceptions.DecodeError),
        (RuntimeError("other"), RuntimeError),
    ],
)
def test_errors_of_the_core(native: Any, public: type) -> None:
    error = from_native(native)
    assert type(error) is public
    assert str(error) == str(native)
