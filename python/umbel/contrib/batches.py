"""Calls of a task that are run many at a time: celery-batches' names. `from umbel.contrib.batches import Batches`."""

from umbel.task.batches import Batches, SimpleRequest

__all__ = ["Batches", "SimpleRequest"]
