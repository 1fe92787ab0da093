"""What a child of the asyncio pool does: many jobs on one event loop.

1. The link's descriptor is readable when jobs or interruptions are there; `_look` takes a bounded number of jobs.
2. An `async def` task runs as an asyncio task of its own, in a context of its own. Any other task runs in a thread.
3. When a task ends its outcome is reported, a bounded number in each turn of the loop. The link's own thread writes,
   so that nothing here waits for the main process.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import deque
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from umbel.execution.async_tracer import AsyncTracer
from umbel.execution.coroutines import CoroutineRun, Interruption
from umbel.pools.child import LEAVE, Retirement
from umbel.pools.surroundings import Surroundings

if TYPE_CHECKING:
    from umbel._native import ChildLink, Job
    from umbel.app import Umbel
    from umbel.pools.base import PoolOptions

logger = logging.getLogger("umbel.worker")

#: Jobs begun, and outcomes reported, in one turn of the loop: each takes some 50 µs.
PORTION = 25
#: Threads for tasks that are no coroutines, at most.
MOST_THREADS = 128


def run_jobs(app: Umbel, link: ChildLink, options: PoolOptions) -> None:
    """Runs jobs until the main process says stop or is gone, or this child retires."""
    retirement = Retirement(link, options.max_tasks_per_child, options.max_memory_per_child)
    run_to_end(CoroutineLoop(app, options.request.hostname, link, options.slots, retirement).run())


def run_to_end(main: Coroutine[object, object, None]) -> None:
    """As `asyncio.run`, but goes on when an asyncio task that a task has started ends with `SystemExit` or
    `KeyboardInterrupt`: whoever awaits it gets that, and the tasks beside it are not to suffer.
    """
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        task = loop.create_task(main, name="umbel")
        while not task.done():
            try:
                loop.run_until_complete(task)
            except (SystemExit, KeyboardInterrupt) as error:
                logger.warning("An asyncio task raised %r; the event loop goes on", error)
    finally:
        _close(loop)


def _close(loop: asyncio.AbstractEventLoop) -> None:
    """Ends what tasks have left running, as `asyncio.run` does."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    try:
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        asyncio.set_event_loop(None)
        loop.close()


class Turns:
    """Portions work: so much of it in each turn of the loop, and the rest in the next ones."""

    def __init__(self, portion: int = PORTION) -> None:
        self._portion = portion
        self._left = portion
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._planned = False

    def __call__(self) -> asyncio.Future[None] | None:
        """None: go on. Else wait for that first."""
        loop = asyncio.get_running_loop()
        self._plan(loop)
        if self._left > 0 and not self._waiting:
            self._left -= 1
            return None
        future = loop.create_future()
        self._waiting.append(future)
        return future

    def _plan(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._planned:
            self._planned = True
            loop.call_soon(self._next, loop)

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        self._planned = False
        self._left = self._portion
        while self._waiting and self._left > 0:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
                self._left -= 1
        if self._left < self._portion:
            self._plan(loop)


class CoroutineLoop:
    """Runs up to `slots` jobs at a time on the running loop."""

    def __init__(self, app: Umbel, hostname: str, link: ChildLink, slots: int, retirement: Retirement) -> None:
        self._tracer = AsyncTracer(app, hostname, Turns())
        self._link = link
        self._slots = slots
        self._retirement = retirement
        #: By the numbers of their jobs; without a run it is in a thread.
        self._running: dict[int, tuple[Job, CoroutineRun | None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(min(slots, MOST_THREADS), "umbel-task")
        self._look_planned = False

    async def run(self) -> None:
        """Returns when no more jobs come and none runs."""
        self._loop = asyncio.get_running_loop()
        self._surroundings = Surroundings()
        self._over = self._loop.create_future()
        descriptor = self._link.fileno()
        self._loop.add_reader(descriptor, self._look)
        try:
            await self._over
        finally:
            self._loop.remove_reader(descriptor)
        self._link.flush()

    def _look(self) -> None:
        self._look_planned = False
        room = min(self._slots - len(self._running), PORTION)
        for job in self._link.take(self._retirement.room(room)):
            self._start(job)
        for number, why in self._link.interruptions():
            self._interrupt(number, why)
        if self._link.is_ending and not self._running and not self._over.done():
            self._over.set_result(None)

    def _interrupt(self, number: int, why: Interruption) -> None:
        running = self._running.get(number)
        if running is not None:
            job, run = running
            if run is not None:
                run.interrupt(why, self._tracer.hard_limit(job) if why == "hard" else None)

    def _start(self, job: Job) -> None:
        self._retirement.begins()
        if self._tracer.is_coroutine(job.task):
            run = CoroutineRun()
            work = self._tracer.run_coroutine(job, self._link, run)
        else:
            run = None
            work = self._in_thread(job)
        self._running[job.number] = job, run
        task = self._loop.create_task(self._see_through(job, work), name=f"{job.task}[{job.id}]")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _in_thread(self, job: Job) -> None:
        context = contextvars.copy_context()
        await self._loop.run_in_executor(self._threads, lambda: context.run(self._tracer.run, job, self._link))

    async def _see_through(self, job: Job, work: Coroutine[object, object, None]) -> None:
        try:
            await work
        except LEAVE as error:
            logger.warning("Child ends, as %s[%s] wants: %r", job.task, job.id, error)
            self._link.retire()
        except Exception:
            logger.critical("The tracer failed on %s[%s], and the child ends", job.task, job.id, exc_info=True)
            self._link.retire()
        finally:
            self._ended(job)

    def _ended(self, job: Job) -> None:
        del self._running[job.number]
        self._surroundings.restore()
        self._retirement.ended()
        if not self._look_planned:
            self._look_planned = True
            self._loop.call_soon(self._look)
