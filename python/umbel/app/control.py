"""`app.control`: speaks to the workers.

A command is *broadcast*: whoever works at that moment hears it, Umbel's workers and Celery's alike. What is revoked is
also kept in the broker, for workers that are away or not there yet.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from umbel import _native
from umbel.app.clock import timestamp
from umbel.exceptions import from_native
from umbel.serialization import accepted as content_types
from umbel.serialization import dumps, loads

if TYPE_CHECKING:
    from umbel.app.app import Umbel

__all__ = ["Control", "stamp_values"]

#: Longest single wait for answers (seconds); between two of them signals are handled.
_SLICE = 0.5


class Control:
    """Commands for workers. `destination` names the nodes that are meant (None: all of them)."""

    def __init__(self, app: Umbel) -> None:
        self.app = app
        self._clock = itertools.count(1)
        self._lock = threading.Lock()

    # --- tasks

    def revoke(
        self,
        task_id: str | Sequence[str],
        destination: Sequence[str] | None = None,
        terminate: bool = False,
        signal: str | int | None = None,
        **kwargs: Any,
    ) -> list[dict[str, Any]] | None:
        """Tells workers not to run a task, or several; theirs is the state REVOKED.

        The ids are kept in the broker for `revoke_expires` seconds: no worker runs such a task, whenever it starts.

        Args:
            task_id: Id of the task, or several.
            terminate: End it even if it runs: the process that runs it is sent `signal` (None: SIGTERM).
            kwargs: As for `broadcast`: with `reply=True` the workers' answers are awaited and returned.

        Raises:
            OperationalError: The broker cannot be reached.
        """
        ids = [task_id] if isinstance(task_id, str) else list(task_id)
        if destination is None:
            self._keep(ids, [])
        arguments = {
            "task_id": task_id if isinstance(task_id, str) else ids,
            "terminate": terminate,
            "signal": signal or "SIGTERM",
        }
        return self.broadcast("revoke", arguments, destination, **kwargs)

    def terminate(
        self,
        task_id: str | Sequence[str],
        destination: Sequence[str] | None = None,
        signal: str | int | None = None,
        **kwargs: Any,
    ) -> list[dict[str, Any]] | None:
        """`revoke` with `terminate=True`."""
        return self.revoke(task_id, destination, terminate=True, signal=signal, **kwargs)

    def revoke_by_stamped_headers(
        self,
        headers: Mapping[str, Any],
        destination: Sequence[str] | None = None,
        terminate: bool = False,
        signal: str | int | None = None,
        **kwargs: Any,
    ) -> list[dict[str, Any]] | None:
        """Revokes all tasks that carry one of these stamps: `{header: value or list of values}`.

        Otherwise as `revoke`.
        """
        if destination is None:
            self._keep([], stamp_values(headers))
        arguments = {"headers": headers, "terminate": terminate, "signal": signal or "SIGTERM"}
        return self.broadcast("revoke_by_stamped_headers", arguments, destination, **kwargs)

    def revoked(self) -> list[str]:
        """Ids of tasks that the broker knows to be revoked, sorted. Raises OperationalError."""
        try:
            return self.app.client.revoked()
        except _native.NativeError as error:
            raise from_native(error) from error

    def rate_limit(
        self, task_name: str, rate_limit: str | float | None, destination: Sequence[str] | None = None, **kwargs: Any
    ) -> list[dict[str, Any]] | None:
        """Changes the rate limit of a task, such as `"10/m"`; 0 or None lifts it."""
        arguments = {"task_name": task_name, "rate_limit": rate_limit}
        return self.broadcast("rate_limit", arguments, destination, **kwargs)

    def time_limit(
        self,
        task_name: str,
        soft: float | None = None,
        hard: float | None = None,
        destination: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> list[dict[str, Any]] | None:
        """Changes the time limits of a task, seconds; for tasks that workers receive from now on."""
        arguments = {"task_name": task_name, "hard": hard, "soft": soft}
        return self.broadcast("time_limit", arguments, destination, **kwargs)

    def ping(
        self, destination: Sequence[str] | None = None, timeout: float = 1.0, **kwargs: Any
    ) -> list[dict[str, Any]]:
        """Who is there: `[{node: {"ok": "pong"}}, ...]`."""
        return self.broadcast("ping", {}, destination, reply=True, timeout=timeout, **kwargs) or []

    # --- any command

    def broadcast(
        self,
        command: str,
        arguments: Mapping[str, Any] | None = None,
        destination: Sequence[str] | None = None,
        connection: Any = None,
        reply: bool = False,
        timeout: float | None = 1.0,
        limit: int | None = None,
        callback: Callable[[Any], Any] | None = None,
        channel: Any = None,
        pattern: str | None = None,
        matcher: str | None = None,
        **extra_kwargs: Any,
    ) -> list[dict[str, Any]] | None:
        """Says a command to all workers.

        Args:
            arguments: Of the command.
            destination: Nodes that are meant; None: all.
            connection: Accepted for Celery's sake, as is `channel`.
            reply: Wait for answers and return them, one dict per node.
            timeout: How long to wait for them, seconds (None: 1).
            limit: How many answers are enough; with a `destination` its length.
            callback: Called with each answer as it comes.
            pattern: Nodes that are meant, as a `matcher` (`glob` or `pcre`) understands it.

        Raises:
            OperationalError: The broker cannot be reached.
            ValueError: `destination` is no list of nodes.
        """
        if destination is not None and not isinstance(destination, (list, tuple)):
            raise ValueError(f"destination is a list of node names, not {destination!r}")
        request: dict[str, Any] = {
            "method": command,
            "arguments": {**(arguments or {}), **extra_kwargs},
            "destination": destination,
            "pattern": pattern,
            "matcher": matcher,
        }
        timeout = 1.0 if timeout is None else timeout
        try:
            if not reply:
                self._say(request, timeout)
                return None
            limit = len(destination) if limit is None and destination else limit
            return self._ask(request, timeout, limit, callback)
        except _native.NativeError as error:
            raise from_native(error) from error

    # --- steps

    @property
    def _exchange(self) -> str:
        return f"{self.app.conf.control_exchange}.pidbox"

    def _keep(self, ids: Iterable[str], stamps: Iterable[tuple[str, str]]) -> None:
        until = timestamp() + self.app.conf.revoke_expires
        try:
            self.app.client.revoke(list(ids), list(stamps), until)
        except _native.NativeError as error:
            raise from_native(error) from error

    def _say(self, request: Mapping[str, Any], timeout: float) -> None:
        with self._lock:
            clock = next(self._clock)
        headers = json.dumps({"clock": clock, "expires": time.time() + timeout})
        self.app.client.broadcast(self._exchange, headers, dumps(request, self.app.conf.task_serializer))

    def _ask(
        self, request: dict[str, Any], timeout: float, limit: int | None, callback: Callable[[Any], Any] | None
    ) -> list[dict[str, Any]]:
        ticket, box = _native.uuid4(), (f"reply.{self._exchange}", _native.uuid4())
        request |= {"ticket": ticket, "reply_to": {"exchange": box[0], "routing_key": box[1]}}
        client, accept = self.app.client, content_types(self.app.conf.accept_content)
        answers: list[dict[str, Any]] = []
        client.open_box(*box)
        try:
            self._say(request, timeout)
            deadline = time.monotonic() + timeout
            while (limit is None or len(answers) < limit) and (left := deadline - time.monotonic()) > 0:
                for headers, content_type, encoding, body in client.collect(*box, min(left, _SLICE)):
                    if json.loads(headers).get("ticket") != ticket:
                        continue
                    answer = loads(body, content_type, encoding, accept)
                    answers.append(answer)
                    if callback is not None:
                        callback(answer)
        finally:
            client.close_box(*box)
        return answers if limit is None else answers[:limit]

    def __repr__(self) -> str:
        return f"<Control of {self.app!r}>"


def stamp_values(headers: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Stamps one by one, as the core keeps them: values as text, those that are none as JSON."""
    return [
        (header, value if isinstance(value, str) else json.dumps(value))
        for header, values in headers.items()
        for value in (values if isinstance(values, (list, tuple, set, frozenset)) else [values])
    ]
