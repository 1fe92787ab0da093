"""Results: of tasks that run elsewhere (`AsyncResult`) and in place (`EagerResult`), and where records are read."""

from __future__ import annotations

from umbel.result.async_result import AsyncResult, allow_join_result, denied_join_result, result_from_tuple
from umbel.result.eager import EagerResult

__all__ = ["AsyncResult", "EagerResult", "allow_join_result", "denied_join_result", "result_from_tuple"]
