"""The Celery side."""

from __future__ import annotations

import os

from apps.compat_tasks import define, settings
from celery import Celery

URL = os.environ.get("UMBEL_TEST_URL", "redis://127.0.0.1:1/0")

app = Celery("compat")
app.conf.update(settings(URL, os.environ.get("UMBEL_TEST_RESULTS"), os.environ.get("UMBEL_TEST_QUEUE_TYPE")))
define(app, "celery")
