"""Celery's side of the fleet, as its documentation advises for tasks that must not be lost."""

from __future__ import annotations

from celery import Celery

from chaos.tasks import define, settings

app = Celery("chaos")
app.conf.update(
    settings(),
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
)
define(app)
