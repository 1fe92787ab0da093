"""Values that Celery's JSON carries, for property tests."""

from __future__ import annotations

from datetime import timedelta, timezone
from typing import Any

from hypothesis import strategies as st

text = st.text(st.characters(), max_size=30)
numbers = st.integers() | st.integers(-(2**70), 2**70) | st.floats()
zones = st.none() | st.just(timezone.utc) | st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone)
extended = (
    st.datetimes(timezones=zones)
    | st.dates()
    | st.times(timezones=zones)
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.binary(max_size=30)
)
scalars = st.none() | st.booleans() | numbers | text | extended
keys = text | st.integers() | st.floats() | st.booleans() | st.none()


def nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=5)
            | st.lists(inner, max_size=5).map(tuple)
            | st.dictionaries(keys, inner, max_size=5)
        ),
        max_leaves=20,
    )


values = nested(scalars)
