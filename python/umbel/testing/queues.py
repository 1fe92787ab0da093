"""What waits in an application's queues: looking at it, and running all of it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from umbel.app import clock
from umbel.routing import with_own_queues
from umbel.serialization import dumps, loads
from umbel.serialization.compression import decompress
from umbel.testing.clock import MovedClock
from umbel.testing.worker import running_workers, start_worker

if TYPE_CHECKING:
    from umbel.app import Umbel
    from umbel.worker.worker import Worker

#: Messages looked at per queue.
_MOST = 10_000
#: Between two looks at whether a worker is idle, and how many in a row must say so (seconds).
_PAUSE = 0.003
_LOOKS = 3
#: Tasks due this soon wait in the worker (seconds).
_SOON = 3.0


@dataclass(frozen=True)
class Enqueued:
    """A task that waits in a queue."""

    task: str
    id: str
    args: list[Any]
    kwargs: dict[str, Any]
    queue: str
    #: When it is due, seconds since the epoch; None: now.
    eta: float | None
    headers: Mapping[str, Any]


class Drained(NamedTuple):
    """How the tasks ended that `drain` ran."""

    succeeded: int
    failed: int
    retried: int
    ignored: int
    rejected: int
    #: Not run: expired, revoked, or dead letters.
    dropped: int


def enqueued(app: Umbel, queue: str | None = None) -> list[Enqueued]:
    """Tasks that wait in one queue, or in all the application knows, next first; held ones are not among them.

    Raises:
        OperationalError: The broker cannot be reached.
    """
    names = [queue] if queue is not None else list(app.queues.consume_from)
    found = []
    for name in names:
        for message in app.client.peek(name, _MOST):
            headers = message["headers"] or {}
            if "task" in headers:
                found.append(_decoded(name, message, headers))
    return found


def _decoded(queue: str, message: Any, headers: Mapping[str, Any]) -> Enqueued:
    body = message["body"]
    if headers.get("compression"):
        body = decompress(body, headers["compression"])
    args, kwargs, _embed = loads(
        body, message["content_type"], message["content_encoding"], frozenset({message["content_type"]})
    )
    return Enqueued(headers["task"], headers["id"], list(args), kwargs, queue, _eta(message, headers), headers)


def _eta(message: Any, headers: Mapping[str, Any]) -> float | None:
    from umbel._native import parse_iso8601

    if message["due"] is not None:
        due: float = message["due"]
        return due
    return parse_iso8601(headers["eta"])[0] if headers.get("eta") else None


def assert_enqueued(
    task: Any,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    queue: str | None = None,
    count: int | None = None,
    app: Umbel | None = None,
) -> list[Enqueued]:
    """Asserts that a task waits in a queue, and returns those that match.

    Args:
        task: The task, or its name (then name the `app`).
        args: Positional arguments it must have; None: any. Likewise `kwargs`.
        queue: The queue it must be in; None: any that the application knows.
        count: How many must match; None: at least one.

    Raises:
        AssertionError: It is not so; the message lists what waits.
    """
    found, waiting = _matching(task, args, kwargs, queue, app)
    if len(found) != count if count is not None else not found:
        wanted = "" if count is None else f" {count} times"
        raise AssertionError(f"{_call(task, args, kwargs)} is not enqueued{wanted}, but: {_listed(waiting)}")
    return found


def assert_not_enqueued(
    task: Any,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    queue: str | None = None,
    app: Umbel | None = None,
) -> None:
    """Asserts that no such task waits; arguments as for `assert_enqueued`. Raises AssertionError."""
    found, _ = _matching(task, args, kwargs, queue, app)
    if found:
        raise AssertionError(f"{_call(task, args, kwargs)} is enqueued: {_listed(found)}")


def _matching(task: Any, args: Any, kwargs: Any, queue: str | None, app: Umbel | None) -> tuple[list[Enqueued], Any]:
    known: Any = app or (None if isinstance(task, str) else task.app)
    if known is None:
        raise TypeError("a task that is given by its name needs app=...")
    name = task if isinstance(task, str) else task.name
    waiting = enqueued(known, queue)
    serializer = known.conf.task_serializer
    wanted_args = None if args is None else _as_sent(list(args), serializer)
    wanted_kwargs = None if kwargs is None else _as_sent(dict(kwargs), serializer)
    found = [
        each
        for each in waiting
        if each.task == name and wanted_args in (None, each.args) and wanted_kwargs in (None, each.kwargs)
    ]
    return found, waiting


def _as_sent(value: Any, serializer: str) -> Any:
    content_type, encoding, data = dumps(value, serializer)
    return loads(data, content_type, encoding, frozenset({content_type}))


def _call(task: Any, args: Any, kwargs: Any) -> str:
    shown = [*(map(repr, args or ())), *(f"{name}={value!r}" for name, value in (kwargs or {}).items())]
    given = "..." if args is None and kwargs is None else ", ".join(shown)
    return f"{task if isinstance(task, str) else task.name}({given})"


def _listed(waiting: Iterable[Enqueued]) -> str:
    return "; ".join(f"{_call(each.task, each.args, each.kwargs)} in {each.queue}" for each in waiting) or "nothing"


def drain(app: Umbel, *, with_scheduled: bool = False, timeout: float = 30.0) -> Drained:
    """Runs all tasks that wait in the application's queues, and those they send, until none is left that is due.

    It works in threads of this process; a worker of `start_worker` that runs already does the work, if there is one.

    Args:
        with_scheduled: Also those that are due later: time is moved for them (see `moved_clock`; not on Redis), and
            back again at the end.
        timeout: How long it may take, seconds.

    Raises:
        TimeoutError: It took longer.
        OperationalError: The broker cannot be reached.
    """
    deadline = time.monotonic() + timeout
    with contextlib.ExitStack() as stack:
        mine = [worker for worker in running_workers() if worker.app is app]
        worker = mine[0] if mine else stack.enter_context(start_worker(app))
        # What a worker of ours has done already counts, too.
        before = worker.stats() if mine else {}
        moved = clock.moved()
        moving = MovedClock()
        try:
            _wait_idle(app, worker, deadline)
            while with_scheduled and (wait := _until_next(app, worker)) is not None:
                moving.travel(wait)
                _wait_idle(app, worker, deadline)
        finally:
            moving.travel(moved - clock.moved())
        return _drained(before, worker.stats())


def _wait_idle(app: Umbel, worker: Worker, deadline: float) -> None:
    """Until nothing is ready, held or on its way: between broker and engine neither sees a message for a moment."""
    seen: tuple[int, int] | None = None
    looks = 0
    while looks < _LOOKS:
        if time.monotonic() > deadline:
            raise TimeoutError(f"tasks still run or wait: {worker.stats()}")
        time.sleep(_PAUSE)
        stats = worker.stats()
        busy = stats["held"] - stats["timed"] + stats["unconfirmed"] + stats["running"]
        queues = with_own_queues(app.queues.consume_from, app.conf.broker_read_url)
        ready = any(app.client.queue_length(name) for name in queues)
        now = (stats["exchanges"], stats["received"])
        still = not busy and not ready and stats["fetched"] == stats["received"] and now == seen
        looks, seen = (looks + 1 if still else 0), now


def _until_next(app: Umbel, worker: Worker) -> float | None:
    """Seconds until the next task is due; None if there is none."""
    if worker.stats()["timed"]:
        return _SOON
    dues = [each.eta for each in enqueued(app) if each.eta is not None]
    return max(0.0, min(dues) - clock.timestamp()) + 0.001 if dues else None


def _drained(before: Mapping[str, int], after: Mapping[str, int]) -> Drained:
    def more(*names: str) -> int:
        return sum(after[name] - before.get(name, 0) for name in names)

    return Drained(
        succeeded=more("succeeded"),
        failed=more("failed"),
        retried=more("retried"),
        ignored=more("ignored"),
        rejected=more("rejected"),
        dropped=more("expired", "revoked", "dead"),
    )
