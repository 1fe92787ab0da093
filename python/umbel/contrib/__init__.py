"""Additions for which Celery has the same names."""
