"""Reads requests that are said to all workers, and answers those that want an answer."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from umbel.exceptions import ContentDisallowed, DecodeError
from umbel.serialization import dumps, loads
from umbel.worker.control.panel import PANEL, WorkerState, error

logger = logging.getLogger("umbel.worker")


class Mailbox:
    """The worker's ear for remote control.

    Args:
        serializer: Of the answers.
    """

    def __init__(self, state: WorkerState, serializer: str = "json") -> None:
        self._state = state
        self._serializer = serializer
        self._accept = frozenset(state.app.accept)
        #: Commands that nobody knows, each of which is logged once: monitors repeat theirs.
        self._unknown: set[str] = set()

    def receive(self, headers: str, content_type: str, encoding: str, body: bytes) -> None:
        """Does what a request asks for, if this worker is meant. Raises nothing: what fails is logged and answered."""
        try:
            request = loads(body, content_type, encoding, self._accept)
            method, arguments = request["method"], dict(request.get("arguments") or {})
            heard = int(json.loads(headers or "{}").get("clock") or 0)
            self._state.clock = max(self._state.clock, heard) + 1
            meant = is_meant(self._state.node, request)
        except (ContentDisallowed, DecodeError, KeyError, TypeError, ValueError, re.error) as reason:
            logger.error("A remote control request cannot be read: %r", reason)
            return
        if not meant:
            return
        answer = self._run(method, arguments)
        if request.get("reply_to"):
            self._answer(request, answer)

    def _run(self, method: Any, arguments: Mapping[str, Any]) -> Any:
        handler = PANEL.get(method)
        if handler is None:
            if method not in self._unknown:
                self._unknown.add(method)
                logger.warning("No such remote control command: %r", method)
            return error(repr(KeyError(method)))
        try:
            return handler(self._state, **arguments)
        except Exception as reason:
            logger.error("Remote control command %r failed: %r", method, reason, exc_info=True)
            return error(repr(reason))

    def _answer(self, request: Mapping[str, Any], answer: Any) -> None:
        self._state.clock += 1
        headers = json.dumps({"ticket": request.get("ticket"), "clock": self._state.clock})
        try:
            to = request["reply_to"]
            content = dumps({self._state.node: answer}, self._serializer)
            self._state.engine.answer(str(to["exchange"]), str(to["routing_key"]), headers, content)
        except Exception as reason:
            logger.error("Remote control command %r cannot be answered: %r", request.get("method"), reason)


def is_meant(node: str, request: Mapping[str, Any]) -> bool:
    """Whether a request is for this node: `destination` wins over `pattern`; without both it is for all.

    Raises:
        ValueError: The matcher is unknown.
        re.error: The pattern is none.
    """
    destination = request.get("destination")
    if destination:
        return node in destination
    pattern = request.get("pattern")
    if not pattern:
        return True
    matcher = request.get("matcher") or "glob"
    if matcher == "glob":
        return fnmatchcase(node, pattern)
    if matcher == "pcre":
        return re.match(pattern, node) is not None
    raise ValueError(f"matcher {matcher!r}: expected glob or pcre")
