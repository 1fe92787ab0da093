"""The Umbel side."""

from __future__ import annotations

import os

from apps.compat_tasks import define, settings

from umbel import Umbel

URL = os.environ.get("UMBEL_TEST_URL", "redis://127.0.0.1:1/0")

app = Umbel(
    "compat", changes=settings(URL, os.environ.get("UMBEL_TEST_RESULTS"), os.environ.get("UMBEL_TEST_QUEUE_TYPE"))
)
define(app, "umbel")
