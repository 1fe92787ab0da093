"""Records of results: Celery's fields in Celery's order, in the result serializer, compressed or not."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, tzinfo
from typing import Any

from umbel import _native
from umbel._interfaces import AppInterface
from umbel.exceptions import DecodeError, EncodeError, ImproperlyConfigured
from umbel.result.failures import portable, rebuild, restore_wrapped, to_fields
from umbel.serialization import accepted, by_name, loads
from umbel.serialization.packing import load_packed, packed, told_content_type
from umbel.states import EXCEPTION_STATES, READY_STATES

__all__ = ["RecordFormat"]

#: Serializers that can carry exception objects.
_OBJECT_SERIALIZERS = frozenset({"pickle", "cloudpickle"})
#: Of a record, while `worker_max_message_bytes` is not set.
MAX_RECORD_BYTES = 128 << 20


class RecordFormat:
    """Writes and reads records as an application's settings say."""

    def __init__(self, app: AppInterface) -> None:
        conf = app.conf
        codec = by_name(conf.result_serializer)
        self._serializer: str = conf.result_serializer
        self._encode: Callable[[Any], bytes] = _native.json_dumps if self._serializer == "json" else codec.dumps
        # Who reads replies knows no compressed ones.
        replies = str(conf.result_backend or "").startswith("rpc:")
        self._compression: str | None = None if replies else conf.result_compression
        self._accept = accepted(conf.result_accept_content or conf.accept_content) | {codec.content_type}
        self._clock = _IsoClock(app.timezone)
        limit = conf.worker_max_message_bytes
        self._most: int = MAX_RECORD_BYTES if limit is None else int(limit)
        self.extended = bool(conf.result_extended)
        #: The core writes the records of successes in one go.
        self._is_plain = self._serializer == "json" and not self._compression and not self.extended
        self.expires: float | None = conf.result_expires or None
        failure = conf.result_failure_expires
        self.failure_expires: float | None = self.expires if failure is None else failure or None
        if self._compression:
            self._check_compression(self._compression)

    @staticmethod
    def _check_compression(method: str) -> None:
        try:
            packed(b"", method)
        except KeyError:
            raise ImproperlyConfigured(f"result_compression knows no method {method!r}") from None

    def expires_for(self, state: str) -> float | None:
        """Life of a record in that state, seconds; None: for ever."""
        return self.failure_expires if state == "FAILURE" else self.expires

    def write(
        self,
        task_id: str,
        state: str,
        result: Any,
        traceback: str | None = None,
        request: Any = None,
        children: list[Any] | None = None,
        attempts: list[dict[str, Any]] | None = None,
    ) -> bytes:
        """Bytes of a record. `result` is the exception itself in exception states; `attempts` are the tries there were,
        where there was more to them than a success.

        Raises EncodeError for what the serializer cannot write, and for more than `worker_max_message_bytes`.
        """
        if state == "SUCCESS" and traceback is None and attempts is None and self._is_plain:
            return self._bounded(self._success(task_id, result, request, children))
        if state in EXCEPTION_STATES and isinstance(result, BaseException):
            result = self.exception_value(result)
        record = {
            "status": state,
            "result": result,
            "traceback": traceback,
            "children": children,
            "date_done": self._clock.now() if state in READY_STATES else None,
        }
        if request is not None:
            if request.group:
                record["group_id"] = request.group
            if request.parent_id:
                record["parent_id"] = request.parent_id
            if self.extended:
                record.update(_extended(request))
        if attempts is not None:
            record["attempts"] = attempts
        record["task_id"] = task_id
        return self._finish(record)

    def _success(self, task_id: str, result: Any, request: Any, children: list[Any] | None) -> bytes:
        group, parent_id = (None, None) if request is None else (request.group, request.parent_id)
        try:
            return _native.json_success(task_id, result, children, self._clock.now(), group, parent_id)
        except (TypeError, ValueError, RecursionError) as error:
            raise EncodeError(repr(error)) from error

    def _finish(self, record: dict[str, Any]) -> bytes:
        try:
            data = self._encode(record)
        except (TypeError, ValueError, RecursionError) as error:
            raise EncodeError(repr(error)) from error
        if self._compression:
            data = packed(data, self._compression)
        return self._bounded(data)

    def _bounded(self, data: bytes) -> bytes:
        if len(data) > self._most:
            raise EncodeError(
                f"The result takes {len(data)} bytes, and worker_max_message_bytes allows {self._most}: return less, "
                "store the data elsewhere and return where, or raise the setting"
            )
        return data

    def write_group(self, group: Any) -> bytes:
        """Bytes of a saved group's record; `group` is its tuple. Raises EncodeError."""
        return self._finish({"result": group})

    def read_group(self, data: bytes) -> Any:
        """The tuple in a saved group's record. Raises as `read`."""
        saved = load_packed(data, self._accept)
        if not isinstance(saved, dict) or "result" not in saved:
            raise DecodeError(f"Not a saved group: {data[:80]!r}")
        return saved["result"]

    def exception_value(self, error: BaseException) -> Any:
        """What a record carries for an exception."""
        error = portable(error)
        return error if self._serializer in _OBJECT_SERIALIZERS else to_fields(error, self._encode)

    def write_part(self, task_id: str, state: str, result: Any) -> bytes:
        """A member's part of a chord: `[1, id, state, result]`. Raises EncodeError."""
        if state in EXCEPTION_STATES and isinstance(result, BaseException):
            result = self.exception_value(result)
        try:
            return self._bounded(self._encode([1, task_id, state, result]))
        except (TypeError, ValueError, RecursionError) as error:
            raise EncodeError(repr(error)) from error

    def read_part(self, data: bytes) -> tuple[str, str, Any]:
        """Id, state and result of a part. Raises DecodeError, ContentDisallowed or SecurityError."""
        content_type = told_content_type(data)
        if data[:1] >= b"\x90" and data[:1] <= b"\x9f":
            content_type = "application/x-msgpack"
        _, task_id, state, result = loads(data, content_type, None, self._accept)
        return task_id, state, rebuild(result) if state in EXCEPTION_STATES else result

    def read(self, data: bytes) -> dict[str, Any]:
        """A record's fields, with exceptions rebuilt. Raises DecodeError, ContentDisallowed or SecurityError.

        Records carry no content type; what wrote them is told by their first bytes, so that results survive a change
        of serializer. Only what `result_accept_content` allows is read.
        """
        meta = load_packed(data, self._accept)
        if not isinstance(meta, dict) or "status" not in meta:
            raise DecodeError(f"Not a result record: {data[:80]!r}")
        if meta["status"] in EXCEPTION_STATES:
            error = rebuild(meta.get("result"))
            meta["result"] = restore_wrapped(error) if error is not None and self._serializer == "pickle" else error
        return meta


class _IsoClock:
    """The present as ISO 8601 text. All but the microseconds is kept for a second: formatting it costs more than
    everything else about a small record."""

    def __init__(self, timezone: tzinfo) -> None:
        self._timezone = timezone
        self._kept: tuple[int, str, str] = (-1, "", "")

    def now(self) -> str:
        """Always with microseconds and offset."""
        micros = time.time_ns() // 1000
        second, until_seconds, offset = self._kept
        if second != micros // 1_000_000:
            second = micros // 1_000_000
            text = datetime.fromtimestamp(second, self._timezone).isoformat()
            until_seconds, offset = text[:19], text[19:]
            self._kept = (second, until_seconds, offset)
        # An f-string would take three times as long for `:06d`.
        return "%s.%06d%s" % (until_seconds, micros - second * 1_000_000, offset)  # noqa: UP031


def _extended(request: Any) -> dict[str, Any]:
    info = request.delivery_info or {}
    fields = {
        "name": request.task,
        "args": request.args,
        "kwargs": request.kwargs,
        "worker": request.hostname,
        "retries": request.retries,
        "queue": info.get("routing_key"),
    }
    if request.stamps:
        names = request.stamped_headers or []
        fields["stamped_headers"] = names
        fields.update({name: value for name, value in request.stamps.items() if name in names})
    return fields
