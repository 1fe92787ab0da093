"""Results: of tasks that run elsewhere (`AsyncResult`), in place (`EagerResult`) and together (`GroupResult`)."""

from __future__ import annotations

from umbel.result.async_result import AsyncResult, allow_join_result, denied_join_result
from umbel.result.eager import EagerResult
from umbel.result.group_result import GroupResult, ResultSet, result_from_tuple

__all__ = [
    "AsyncResult",
    "EagerResult",
    "GroupResult",
    "ResultSet",
    "allow_join_result",
    "denied_join_result",
    "result_from_tuple",
]
