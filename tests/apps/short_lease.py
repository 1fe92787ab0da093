"""Settings (`CELERY_CONFIG_MODULE`) with which the messages of a worker that was killed come back sooner."""

worker_lease = 3.0
