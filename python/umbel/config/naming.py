"""From the names people write to the names in the table: old upper-case names, namespaces, nearest matches."""

from __future__ import annotations

from collections.abc import Collection

from umbel.config.settings import OLD_NAMES, SETTINGS
from umbel.exceptions import ImproperlyConfigured

__all__ = ["looks_like_setting", "resolve", "resolve_strictly"]

#: Words that begin so many settings that a name with them is surely meant as one.
_PREFIXES = ("accept_", "beat_", "broker_", "celery_", "celeryd_", "celerybeat_", "control_", "event_", "result_",
             "task_", "worker_")  # fmt: skip


def resolve(name: str, declared: Collection[str] = ()) -> str | None:
    """The table's name for a new name, an old one or a new one in capitals; None if there is none.

    `declared` are names an application added by `add_defaults`.
    """
    if name in SETTINGS or name in declared:
        return name
    if name in OLD_NAMES:
        return OLD_NAMES[name]
    lower = name.lower()
    return lower if lower in SETTINGS and name.isupper() else None


def resolve_strictly(name: str, declared: Collection[str] = (), shown: str | None = None) -> str:
    """As `resolve`, but raises ImproperlyConfigured with the nearest name. `shown` is the name the user wrote."""
    found = resolve(name, declared)
    if found is None:
        raise ImproperlyConfigured(_unknown(name, shown or name))
    return found


def looks_like_setting(name: str) -> bool:
    """True if an unknown name in a configuration module is more likely a typo than a variable of the module."""
    lower = name.lower()
    return lower.startswith(_PREFIXES) or bool(_nearest(lower, 0.85))


def _nearest(name: str, cutoff: float) -> list[str]:
    from difflib import get_close_matches  # Needed for mistakes alone, and slow to load.

    return get_close_matches(name, SETTINGS, n=1, cutoff=cutoff)


def _unknown(name: str, shown: str) -> str:
    lower = name.lower()
    nearest = _nearest(lower, 0.6)
    if not nearest:
        nearest = [known for known in SETTINGS if known.endswith("_" + lower)][:1]
    hint = f"did you mean {nearest[0]}?" if nearest else "the reference of settings lists all names."
    return f"Unknown setting {shown!r}: {hint} Settings of your own are declared with app.add_defaults({{...}})."
