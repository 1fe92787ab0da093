"""When a peer does not do what it should."""

from __future__ import annotations


class PeerFailed(Exception):
    """A peer's measurement broke off: what happened, and the end of its logs."""

    def __init__(self, reason: str, log: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.log = log
