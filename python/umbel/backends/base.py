"""The contract of a result store in Python, and what such stores are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from umbel.exceptions import missing

__all__ = ["SAVED_GROUP", "TASK", "Row", "Store", "StoreSettings", "key_prefix", "missing", "record_key"]

#: Name of a record, its state, its bytes, and how long it is to live (seconds; None: for ever).
Row = tuple[str, str, bytes, "float | None"]
#: All settings that stores may read, by name.
StoreSettings = Mapping[str, Any]

#: What keys of records begin with.
TASK = "celery-task-meta-"
SAVED_GROUP = "celery-taskset-meta-"


class Store(Protocol):
    """A connection to a result store. It is used by one thread at a time.

    A record's name is the id of its task, or `celery-taskset-meta-` and the id of a saved group. All methods raise
    `umbel.exceptions.OperationalError` for what may pass (they are called again, of another connection if need be),
    `ImproperlyConfigured` for settings that cannot work, and anything else for what this store cannot hold.
    """

    def write(self, batch: Sequence[Row]) -> None:
        """Writes records in order. A stored SUCCESS is final: a later write of that name is passed over. Safe to
        repeat."""
        ...

    def read(self, names: Sequence[str]) -> list[bytes | None]:
        """The records of those names, in that order; None where there is none."""
        ...

    def forget(self, names: Sequence[str]) -> int:
        """Removes records; says how many there were."""
        ...

    def remove_expired(self) -> int:
        """Removes records that have outlived their time, where the store does not do so itself; says how many."""
        ...

    def close(self) -> None:
        """Closes connections; nothing is called afterwards."""
        ...


def key_prefix(settings: StoreSettings) -> str:
    """What stands before keys: `global_keyprefix` of `result_backend_transport_options`, joined as Celery joins it."""
    prefix = str((settings.get("result_backend_transport_options") or {}).get("global_keyprefix") or "")
    return prefix if not prefix or prefix.endswith((":", "_", "-", ".")) else f"{prefix}_"


def record_key(name: str) -> str:
    """The key of a record in stores of keys and values, as Celery has it."""
    return name if name.startswith(SAVED_GROUP) else TASK + name
