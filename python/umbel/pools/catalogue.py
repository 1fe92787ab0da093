"""Which class a pool's name means: Celery's names, and classes of the user's own."""

from __future__ import annotations

import difflib
import importlib
import os
import re
from typing import Any

from umbel.exceptions import ImproperlyConfigured
from umbel.pools.base import Pool

#: What `-P` and `worker_pool` take.
POOLS = {
    "prefork": "umbel.pools.prefork:PreforkPool",
    "asyncio": "umbel.pools.asyncio:AsyncioPool",
    "gevent": "umbel.pools.gevent:GeventPool",
    "eventlet": "umbel.pools.eventlet:EventletPool",
    "threads": "umbel.pools.threads:ThreadsPool",
    "solo": "umbel.pools.solo:SoloPool",
}
# Celery's names for pools that do the same here.
_ALIASES = {"processes": "prefork"}
_OF_CELERY = re.compile(r"(?:celery|umbel)\.concurrency\.(\w+)[:.]TaskPool")
#: Names the class that `custom` means.
CUSTOM = "CELERY_CUSTOM_WORKER_POOL"


def pool_class(name: str | None) -> type[Pool]:
    """The class of a pool; prefork's without a name. `custom` is what the environment variable CUSTOM names.

    Raises:
        ImproperlyConfigured: There is no such pool, or it cannot be imported.
    """
    wanted = _ALIASES.get(name or "", name or "prefork")
    if wanted == "custom":
        wanted = os.environ.get(CUSTOM, "")
        if not wanted:
            raise ImproperlyConfigured(f"The pool 'custom' is the class that {CUSTOM} names, and that is not set")
    of_celery = _OF_CELERY.fullmatch(wanted)
    if of_celery is not None:
        wanted = of_celery[1] if of_celery[1] != "thread" else "threads"
    path = POOLS.get(wanted, wanted)
    if ":" not in path and "." not in path:
        near = difflib.get_close_matches(path, POOLS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(POOLS)}, or package.module:Class"
        raise ImproperlyConfigured(f"There is no pool {path!r}; {hint}")
    return _imported(path)


def _imported(path: str) -> type[Pool]:
    module_name, _, attribute = path.partition(":") if ":" in path else path.rpartition(".")
    try:
        found: Any = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ImproperlyConfigured(f"The pool {path!r} cannot be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Pool)):
        raise ImproperlyConfigured(f"The pool {path!r} is no class derived from umbel.pools.base.Pool")
    return found
