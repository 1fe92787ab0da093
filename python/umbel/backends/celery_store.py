"""Result backends written for Celery, by their dotted path: `result_backend = "proj.results:OwnBackend"`.

The class is made as Celery makes it, with a Celery application of the same settings, and keeps what it kept there.
Where it stores keys and values it gets records as they are; otherwise their parts, through the methods that Celery
calls (`_store_result`, `_get_task_meta_for`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any

from umbel import _native
from umbel.backends.base import SAVED_GROUP, Row, StoreSettings, missing
from umbel.config import import_by_name
from umbel.exceptions import DecodeError, EncodeError, ImproperlyConfigured, OperationalError
from umbel.serialization import accepted, by_name
from umbel.serialization.packing import load_packed
from umbel.states import EXCEPTION_STATES

try:
    import celery
    import celery.exceptions
    from celery.backends.base import KeyValueStoreBackend
    from celery.result import result_from_tuple
    from kombu.exceptions import SerializationError, SerializerNotInstalled
except ImportError as error:
    raise missing("A result backend of Celery's", "celery", "celery") from error

__all__ = ["CeleryStore"]

#: Errors that come again however often it is tried.
_LASTING = (
    TypeError, ValueError, EncodeError, DecodeError, NotImplementedError, SerializationError, SerializerNotInstalled
)  # fmt: skip


class CeleryStore:
    """One instance of the class."""

    def __init__(self, path: str, url: str | None, settings: StoreSettings) -> None:
        """`url`: what follows the path's `+`, or all of the setting; None if it is a path alone.

        Raises ImproperlyConfigured if it cannot be imported or made.
        """
        codec = by_name(settings.get("result_serializer") or "json")
        self._is_json = codec.content_type == "application/json"
        self._encode = _native.json_dumps if self._is_json else codec.dumps
        accept = settings.get("result_accept_content") or settings.get("accept_content") or ["json"]
        self._accept = accepted(accept) | {codec.content_type}
        self._app = celery.Celery("umbel.results", set_as_current=False)
        given = {name: value for name, value in settings.items() if value is not None}
        # Bytes are compressed, and checked for what they are, before and after the class sees them.
        ours = {"result_backend": None, "result_compression": None, "result_accept_content": sorted(self._accept)}
        self._app.conf.update({**given, **ours})
        try:
            self._backend = import_by_name(path)(app=self._app, url=url)
        except (ImportError, AttributeError, ImproperlyConfigured, celery.exceptions.ImproperlyConfigured) as error:
            raise ImproperlyConfigured(f"result_backend: {path} cannot be used: {error}") from error
        self._keyed = isinstance(self._backend, KeyValueStoreBackend)

    def write(self, batch: Sequence[Row]) -> None:
        """As `Store.write`."""
        with _errors():
            for name, state, record, _ in batch:
                if self._keyed:
                    self._set(name, state, record)
                elif name.startswith(SAVED_GROUP):
                    saved = load_packed(record, self._accept)["result"]
                    # Not every class can save one again.
                    self._backend.delete_group(name[len(SAVED_GROUP) :])
                    self._backend.save_group(name[len(SAVED_GROUP) :], result_from_tuple(saved, self._app))
                else:
                    self._store(name, state, load_packed(record, self._accept))

    def _set(self, name: str, state: str, record: bytes) -> None:
        key = self._key(name)
        known = self._backend.get(key)
        if known is not None and _native.record_is_success(_bytes(known)):
            return
        # As Celery gives it: text, if that is what the serializer writes.
        value = record.decode() if self._is_json and record[:1] == b"{" else record
        self._backend._set_with_state(key, value, state)

    def _store(self, task_id: str, state: str, fields: Mapping[str, Any]) -> None:
        if (self._backend._get_task_meta_for(task_id) or {}).get("status") == "SUCCESS":
            return
        request = _Request(task_id, fields)
        self._backend._store_result(task_id, fields["result"], state, fields.get("traceback"), request=request)

    def read(self, names: Sequence[str]) -> list[bytes | None]:
        """As `Store.read`."""
        with _errors():
            if self._keyed:
                # Not every class has an `mget` that keeps the order.
                found = (self._backend.get(self._key(name)) for name in names)
                # A file that is being written is empty for a moment.
                return [_bytes(data) if data else None for data in found]
            return [self._meta(name) for name in names]

    def _meta(self, name: str) -> bytes | None:
        if name.startswith(SAVED_GROUP):
            saved = self._backend.restore_group(name[len(SAVED_GROUP) :], cache=False)
            return None if saved is None else _bytes(self._encode({"result": saved.as_tuple()}))
        meta = self._backend._get_task_meta_for(name)
        if not meta or meta.get("status") in (None, "PENDING"):
            return None
        record = {"status": None, "result": None, "traceback": None, "children": None, "date_done": None, **meta}
        if record["status"] in EXCEPTION_STATES and isinstance(record["result"], BaseException):
            record["result"] = self._backend.prepare_exception(record["result"])
        done = record["date_done"]
        if isinstance(done, datetime):
            record["date_done"] = (done if done.tzinfo else done.replace(tzinfo=timezone.utc)).isoformat()
        return _bytes(self._encode(record))

    def forget(self, names: Sequence[str]) -> int:
        """As `Store.forget`."""
        there = [name for name, record in zip(names, self.read(names), strict=True) if record is not None]
        with _errors():
            for name in there:
                if self._keyed:
                    self._backend.delete(self._key(name))
                elif name.startswith(SAVED_GROUP):
                    self._backend.delete_group(name[len(SAVED_GROUP) :])
                else:
                    self._backend._forget(name)
        return len(there)

    def remove_expired(self) -> int:
        """As `Store.remove_expired`; the class does not tell how many."""
        with _errors():
            self._backend.cleanup()
        return 0

    def close(self) -> None:
        """As `Store.close`: what the class has open goes with it."""
        self._app.close()

    def _key(self, name: str) -> Any:
        if name.startswith(SAVED_GROUP):
            return self._backend.get_key_for_group(name[len(SAVED_GROUP) :])
        return self._backend.get_key_for_task(name)


class _Request:
    """What backends ask of a request, from the fields of a record."""

    def __init__(self, task_id: str, fields: Mapping[str, Any]) -> None:
        self.id = task_id
        self.group = fields.get("group_id")
        self.parent_id = fields.get("parent_id")
        self.children = [_Child(child) for child in fields.get("children") or ()]
        self.task = fields.get("name")
        self.args = fields.get("args")
        self.kwargs = fields.get("kwargs")
        self.hostname = fields.get("worker")
        self.retries = fields.get("retries")
        self.delivery_info = {"routing_key": fields.get("queue")}
        self.stamped_headers = fields.get("stamped_headers")
        self.stamps = {name: fields.get(name) for name in self.stamped_headers or ()}


class _Child:
    def __init__(self, value: Any) -> None:
        self._value = value

    def as_tuple(self) -> Any:
        return self._value


def _bytes(data: Any) -> bytes:
    return data.encode() if isinstance(data, str) else bytes(data)


@contextmanager
def _errors() -> Iterator[None]:
    """What the class raises is taken for trouble of its server, unless it cannot be that."""
    try:
        yield
    except (*_LASTING, OperationalError, ImproperlyConfigured):
        raise
    except Exception as error:
        raise OperationalError(f"{type(error).__name__}: {error}") from error
