"""Results in an SQL database through SQLAlchemy, in Celery's tables.

A row holds the parts of a record in columns; what is no text is written by the result serializer. One column is ours:
`attempts`, which Celery neither reads nor writes. Tables that Celery made get it when they are first used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

from umbel import _native
from umbel.backends.base import SAVED_GROUP, Row, StoreSettings, missing
from umbel.config import import_by_name
from umbel.exceptions import EncodeError, ImproperlyConfigured, OperationalError
from umbel.serialization import accepted, by_name, loads
from umbel.serialization.packing import load_packed
from umbel.states import READY_STATES

try:
    import sqlalchemy as sa
    from sqlalchemy import exc
except ImportError as error:
    raise missing("db+…://", "sqlalchemy", "sqlalchemy") from error

__all__ = ["DatabaseStore"]

#: Of the fields of a record, those in columns of their own that the serializer writes; and those that are plain.
_ENCODED = ("args", "kwargs", "attempts")
_PLAIN = ("name", "worker", "retries", "queue")
#: How often two processes may make the same row, or table, at once before we give up.
_ATTEMPTS = 5
#: Names in one query.
_PAGE = 500


class DatabaseStore:
    """One engine with its connections."""

    def __init__(self, url: str | None, settings: StoreSettings) -> None:
        """Raises ImproperlyConfigured, OperationalError. Makes the tables, or adds to them what is missing."""
        if not url:
            raise ImproperlyConfigured("result_backend: the database needs a URL, here or in database_url")
        self._codec = codec = by_name(settings.get("result_serializer") or "json")
        is_json = codec.content_type == "application/json"
        self._dumps: Callable[[Any], Any] = _native.json_dumps if is_json else codec.dumps
        accept = settings.get("result_accept_content") or settings.get("accept_content") or ["json"]
        self._accept = accepted(accept) | {codec.content_type}
        self._expires: float | None = settings.get("result_expires") or None
        self._tasks, self._groups = _tables(settings)
        with _errors():
            self._engine = _engine(url, settings)
            if settings.get("database_create_tables_at_setup", True):
                self._make_tables()

    # --- writing

    def write(self, batch: Sequence[Row]) -> None:
        """As `Store.write`, in one transaction."""
        rows = [self._row(name, state, record) for name, state, record, _ in batch]
        for left in range(_ATTEMPTS, 0, -1):
            try:
                with _errors(), self._engine.begin() as connection:
                    for table, key, values in rows:
                        _put(connection, table, key, values)
                return
            except exc.IntegrityError:
                # Somebody else made a row since we looked for it.
                if left == 1:
                    raise

    def _row(self, name: str, state: str, record: bytes) -> tuple[sa.Table, str, dict[str, Any]]:
        fields = load_packed(record, self._accept)
        now = datetime.now(timezone.utc).replace(tzinfo=None)
        if name.startswith(SAVED_GROUP):
            return self._groups, name[len(SAVED_GROUP) :], {"result": self._encode(fields["result"]), "date_done": now}
        values: dict[str, Any] = {
            "status": fields["status"],
            "result": self._encode(fields["result"]),
            # PostgreSQL takes no text with a zero.
            "traceback": (fields.get("traceback") or "").replace("\0", "\ufffd") or None,
            "children": self._encode(fields["children"]) if fields.get("children") else None,
            "date_done": now,
        }
        values.update({name: self._encode(fields[name]) if name in fields else None for name in _ENCODED})
        values.update({name: fields.get(name) for name in _PLAIN})
        names = fields.get("stamped_headers")
        stamps = {"stamped_headers": names, "stamps": {one: fields.get(one) for one in names}} if names else None
        values["stamps"] = None if stamps is None else self._encode(stamps)
        return self._tasks, name, values

    # --- reading

    def read(self, names: Sequence[str]) -> list[bytes | None]:
        """As `Store.read`."""
        tasks = [name for name in names if not name.startswith(SAVED_GROUP)]
        found = {name: self._record(row) for name, row in self._rows(self._tasks, tasks)}
        groups = [name[len(SAVED_GROUP) :] for name in names if name.startswith(SAVED_GROUP)]
        for group_id, row in self._rows(self._groups, groups):
            saved = self._decode(row["result"])
            # Celery pickles the group itself.
            found[SAVED_GROUP + group_id] = self._encode(
                {"result": saved.as_tuple() if hasattr(saved, "as_tuple") else saved}
            )
        return [found.get(name) for name in names]

    def _rows(self, table: sa.Table, keys: Sequence[str]) -> Iterator[tuple[str, Mapping[Any, Any]]]:
        key = table.c[_key(table)]
        for start in range(0, len(keys), _PAGE):
            with _errors(), self._engine.connect() as connection:
                rows = connection.execute(sa.select(table).where(key.in_(keys[start : start + _PAGE])))
                found = rows.mappings().all()
            yield from ((row[key.name], row) for row in found)

    def _record(self, row: Mapping[Any, Any]) -> bytes:
        state = row["status"] or "PENDING"
        done = row["date_done"] if state in READY_STATES else None
        record: dict[str, Any] = {
            "status": state,
            "result": self._decode(row["result"]),
            "traceback": row["traceback"],
            "children": self._decode(row["children"]),
            "date_done": None if done is None else done.replace(tzinfo=timezone.utc).isoformat(),
        }
        record.update({name: row[name] for name in _PLAIN if row[name] is not None})
        record.update({name: self._decode(row[name]) for name in _ENCODED if row[name] is not None})
        stamps = self._decode(row["stamps"])
        if isinstance(stamps, dict):
            record.update(stamps.get("stamps") or {}, stamped_headers=stamps.get("stamped_headers"))
        record["task_id"] = row["task_id"]
        return self._encode(record)

    def _encode(self, value: Any) -> bytes:
        data = self._dumps(value)
        return data.encode() if isinstance(data, str) else bytes(data)

    def _decode(self, value: bytes | None) -> Any:
        if value is None:
            return None
        data, codec = bytes(value), self._codec
        if data[:1] == b"\x80" and codec.content_type == "application/json":
            # Celery wrote pickles of old, whatever the setting.
            codec = by_name("pickle")
        return loads(data, codec.content_type, codec.content_encoding, self._accept)

    # --- removing

    def forget(self, names: Sequence[str]) -> int:
        """As `Store.forget`."""
        count = 0
        with _errors(), self._engine.begin() as connection:
            for table, keys in (
                (self._tasks, [name for name in names if not name.startswith(SAVED_GROUP)]),
                (self._groups, [name[len(SAVED_GROUP) :] for name in names if name.startswith(SAVED_GROUP)]),
            ):
                for start in range(0, len(keys), _PAGE):
                    wanted = table.c[_key(table)].in_(keys[start : start + _PAGE])
                    count += connection.execute(sa.delete(table).where(wanted)).rowcount
        return count

    def remove_expired(self) -> int:
        """As `Store.remove_expired`: by `result_expires`."""
        if self._expires is None:
            return 0
        oldest = datetime.now(timezone.utc).replace(tzinfo=None) - timedelta(seconds=self._expires)
        count = 0
        with _errors(), self._engine.begin() as connection:
            for table in (self._tasks, self._groups):
                count += connection.execute(sa.delete(table).where(table.c.date_done < oldest)).rowcount
        return count

    def close(self) -> None:
        """As `Store.close`."""
        self._engine.dispose()

    # --- tables

    def _make_tables(self) -> None:
        for left in range(_ATTEMPTS, 0, -1):
            try:
                self._tasks.metadata.create_all(self._engine)
                self._add_columns()
                return
            except exc.DatabaseError:
                # Another process makes them at this moment.
                if left == 1:
                    raise

    def _add_columns(self) -> None:
        inspector = sa.inspect(self._engine)
        prepare = self._engine.dialect.identifier_preparer
        there = {column["name"] for column in inspector.get_columns(self._tasks.name, schema=self._tasks.schema)}
        for column in self._tasks.columns:
            if column.name not in there:
                kind = column.type.compile(self._engine.dialect)
                name = prepare.quote(column.name)
                with self._engine.begin() as connection:
                    connection.execute(
                        sa.text(f"ALTER TABLE {prepare.format_table(self._tasks)} ADD COLUMN {name} {kind}")
                    )


def _put(connection: sa.Connection, table: sa.Table, key: str, values: dict[str, Any]) -> None:
    """Changes the row unless it says SUCCESS; makes it if there is none."""
    ours = table.c[_key(table)] == key
    change = sa.update(table).where(ours)
    if "status" in table.c:
        change = change.where(sa.or_(table.c.status.is_(None), table.c.status != "SUCCESS"))
    if connection.execute(change.values(values)).rowcount:
        return
    if connection.execute(sa.select(table.c.id).where(ours)).first() is None:
        connection.execute(sa.insert(table).values({_key(table): key, **values}))


def _key(table: sa.Table) -> str:
    return "task_id" if "task_id" in table.c else "taskset_id"


def _tables(settings: StoreSettings) -> tuple[sa.Table, sa.Table]:
    """Celery's tables, under the names and in the schemas that the settings say."""
    names, schemas = settings.get("database_table_names") or {}, settings.get("database_table_schemas") or {}
    metadata = sa.MetaData()
    tasks = sa.Table(
        names.get("task") or "celery_taskmeta",
        metadata,
        _identity("task_id_sequence", schemas.get("task")),
        sa.Column("task_id", sa.String(155), unique=True),
        sa.Column("status", sa.String(50)),
        sa.Column("result", sa.LargeBinary),
        sa.Column("date_done", sa.DateTime, index=True),
        sa.Column("traceback", sa.Text),
        sa.Column("children", sa.LargeBinary),
        sa.Column("name", sa.String(155)),
        sa.Column("args", sa.LargeBinary),
        sa.Column("kwargs", sa.LargeBinary),
        sa.Column("worker", sa.String(155)),
        sa.Column("retries", sa.Integer),
        sa.Column("queue", sa.String(155)),
        sa.Column("stamps", sa.LargeBinary),
        sa.Column("attempts", sa.LargeBinary),
        schema=schemas.get("task"),
        sqlite_autoincrement=True,
    )
    groups = sa.Table(
        names.get("group") or "celery_tasksetmeta",
        metadata,
        _identity("taskset_id_sequence", schemas.get("group")),
        sa.Column("taskset_id", sa.String(155), unique=True),
        sa.Column("result", sa.LargeBinary),
        sa.Column("date_done", sa.DateTime, index=True),
        schema=schemas.get("group"),
        sqlite_autoincrement=True,
    )
    return tasks, groups


def _identity(sequence: str, schema: str | None) -> sa.Column[int]:
    kind = sa.Integer().with_variant(sa.BigInteger, "mssql")
    return sa.Column("id", kind, sa.Sequence(sequence, schema=schema), primary_key=True, autoincrement=True)


def _engine(url: str, settings: StoreSettings) -> sa.Engine:
    options = dict(settings.get("database_engine_options") or {})
    try:
        engine = sa.create_engine(url, **options)
    except (exc.ArgumentError, TypeError) as error:
        raise ImproperlyConfigured(f"result_backend: {error}") from error
    except ImportError as error:
        raise ImproperlyConfigured(f"result_backend: the driver of this database is not installed ({error})") from error
    callback = settings.get("database_engine_callback")
    if isinstance(callback, str):
        callback = import_by_name(callback)
    if callback is not None:
        callback(engine)
    return engine


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except exc.IntegrityError:
        raise
    except exc.DataError as error:
        raise EncodeError(str(error.orig)) from error
    except (exc.OperationalError, exc.InterfaceError, exc.InternalError, exc.TimeoutError) as error:
        raise OperationalError(str(getattr(error, "orig", None) or error)) from error
    except exc.DBAPIError as error:
        if error.connection_invalidated:
            raise OperationalError(str(error.orig)) from error
        raise
