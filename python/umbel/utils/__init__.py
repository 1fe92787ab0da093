"""Import paths of Celery's that applications use; the things themselves live elsewhere."""

from umbel._native import uuid4 as uuid
from umbel.routing import worker_direct

__all__ = ["gen_unique_id", "uuid", "worker_direct"]

#: Its older name.
gen_unique_id = uuid
