"""Import paths of Celery's that applications use; the things themselves live elsewhere."""
