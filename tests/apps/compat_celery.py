"""The Celery side."""

from __future__ import annotations

import os

from apps.compat_tasks import define, settings
from celery import Celery

app = Celery("compat")
app.conf.update(settings(os.environ.get("UMBEL_TEST_URL", "redis://127.0.0.1:1/0")))
define(app, "celery")
