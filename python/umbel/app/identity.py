"""Who sends: the `origin` of messages and the reply id of each thread."""

from __future__ import annotations

import os
import socket
import threading

from umbel import _native

__all__ = ["Identity", "identity"]


class Identity:
    """Names of this process and its threads, renewed after a fork."""

    origin: str

    def __init__(self) -> None:
        self._local = threading.local()
        self.renew()

    def renew(self) -> None:
        """Forgets the names of the parent process."""
        self.origin = f"gen{os.getpid()}@{socket.gethostname()}"
        self._local = threading.local()

    @property
    def thread_oid(self) -> str:
        """A uuid of the calling thread, sent as `reply_to`."""
        try:
            oid: str = self._local.oid
        except AttributeError:
            oid = self._local.oid = _native.uuid4()
        return oid


#: Of this process.
identity = Identity()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=identity.renew)
