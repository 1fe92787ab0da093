"""Values of settings."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from umbel.config.coercion import coerce
from umbel.config.settings import SETTINGS
from umbel.exceptions import ImproperlyConfigured


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("task_acks_late", "yes", True),
        ("task_acks_late", "0", False),
        ("task_acks_late", 1, True),
        ("task_max_deliveries", "7", 7),
        ("task_max_deliveries", 7.0, 7),
        ("result_expires", timedelta(minutes=1), 60.0),
        ("result_expires", "90", 90.0),
        ("task_time_limit", 5, 5),
        ("imports", "a, b", ("a", "b")),
        ("imports", ["a"], ("a",)),
        ("accept_content", "json,pickle", ["json", "pickle"]),
        ("broker_transport_options", {"a": 1}, {"a": 1}),
        ("task_routes", "anything", "anything"),
        ("task_serializer", None, None),
    ],
)
def test_accepted(name: str, given: Any, expected: Any) -> None:
    value = coerce(SETTINGS[name], given)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("task_acks_late", "perhaps"),
        ("task_acks_late", 1.5),
        ("task_max_deliveries", "many"),
        ("task_max_deliveries", 1.5),
        ("task_time_limit", True),
        ("task_serializer", 7),
        ("broker_transport_options", "x=1"),
        ("imports", 7),
    ],
)
def test_refused_with_the_name_of_the_setting(name: str, given: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match=name):
        coerce(SETTINGS[name], given)


def test_a_password_is_not_shown() -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        coerce(SETTINGS["broker_password"], 123456)
    assert "123456" not in str(caught.value)
