"""Result stores that run in Python: SQL databases, files, memcached, and any result backend written for Celery.

The core talks to them as it talks to its own, through the four methods of `Store`.
"""

from __future__ import annotations

from umbel.backends.base import Store, StoreSettings
from umbel.backends.opening import is_native, open_store, store_opener, store_settings

__all__ = ["Store", "StoreSettings", "is_native", "open_store", "store_opener", "store_settings"]
