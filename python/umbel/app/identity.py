"""Who sends: the `origin` of messages and the name of the queue for replies."""

from __future__ import annotations

import os
import socket

from umbel import _native

__all__ = ["Identity", "identity"]


class Identity:
    """Names of this process, renewed after a fork."""

    #: Sent with every message: user and host.
    origin: str
    #: A uuid, sent as `reply_to`. Celery has one for each thread, for each reads its own replies; here all threads read
    #: from one queue.
    oid: str

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Forgets the names of the parent process."""
        self.origin = f"gen{os.getpid()}@{socket.gethostname()}"
        self.oid = _native.uuid4()


#: Of this process.
identity = Identity()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=identity.renew)
