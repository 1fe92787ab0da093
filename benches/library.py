"""What the measuring side asks of a library, and how it is run.

Libraries of coroutines run on an event loop. The others have coroutines that never wait, so that one source measures
both: `drive` runs such a coroutine in place, for a tenth of a microsecond.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

#: Longest wait for one result (seconds).
PATIENCE = 60.0

#: Messages given to a library's bulk call at once.
BULK = 1000


def patient(url: str) -> str:
    """A Redis URL for clients that block for results: redis-py would give up after 5 s, whatever they ask for."""
    return f"{url}?socket_timeout={PATIENCE + 10:g}"


class Library(Protocol):
    """A task queue, as its own documentation says to use it. Tasks are named as the functions of `benches.work`."""

    #: True: its calls wait on an event loop. False: they block, and many clients are many threads.
    coroutines: bool

    async def open(self) -> None:
        """Called once, before anything else."""

    async def send(self, task: str, *args: Any) -> Any:
        """Sends a task and returns once the broker has it. What it returns is for `get` and `missing`."""

    async def send_many(self, task: str, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Sends a task with each of these arguments, by what the library offers for that."""

    async def get(self, sent: Any) -> Any:
        """Waits for the result. Raises when it fails or takes longer than `PATIENCE`."""

    async def missing(self, sent: Sequence[Any]) -> int:
        """How many of these have no result (yet)."""


class WorkflowLibrary(Library, Protocol):
    """One that has workflows."""

    async def send_workflow(self, kind: str, size: int) -> Any:
        """Builds a workflow of `benches.workflows`, sends it, and returns its result object."""


def run(library: Library, coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs the measuring coroutine as the library needs it."""
    if not library.coroutines:
        return drive(coroutine)
    # Workers import this file too: they are to carry what their library needs, and 5 MB of event loop only then.
    import asyncio

    return asyncio.run(coroutine)


def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine that never waits for an event loop. Raises RuntimeError if it does."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    coroutine.close()
    raise RuntimeError("a library without coroutines waited for an event loop")


async def run_clients(library: Library, count: int, client: Callable[[int], Coroutine[Any, Any, T]]) -> list[T]:
    """Runs `client(number)` so many times at once: as coroutines or in threads. Raises the first error."""
    if library.coroutines:
        import asyncio

        return list(await asyncio.gather(*(client(number) for number in range(count))))
    results: list[T] = []
    errors: list[Exception] = []

    def one(number: int) -> None:
        try:
            results.append(drive(client(number)))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=one, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results
