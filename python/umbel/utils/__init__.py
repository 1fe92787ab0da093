"""Import paths of Celery's that applications use; the things themselves live elsewhere."""

from umbel._native import uuid4 as uuid

__all__ = ["gen_unique_id", "uuid"]

#: Its older name.
gen_unique_id = uuid
