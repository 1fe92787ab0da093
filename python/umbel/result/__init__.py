"""Results: of tasks that run elsewhere (`AsyncResult`), in place (`EagerResult`) and together (`GroupResult`)."""

from __future__ import annotations

from umbel.result.async_result import AsyncResult, ResultBase
from umbel.result.attempts import Attempt
from umbel.result.eager import EagerResult
from umbel.result.group_result import GroupResult, ResultSet, result_from_tuple
from umbel.result.waiting import allow_join_result, assert_will_not_block, denied_join_result

__all__ = [
    "AsyncResult",
    "Attempt",
    "EagerResult",
    "GroupResult",
    "ResultBase",
    "ResultSet",
    "allow_join_result",
    "assert_will_not_block",
    "denied_join_result",
    "result_from_tuple",
]
