"""The measuring side of one scenario, in a process of its own: `python -m benches.client MODULE MEASURE PARAMETERS`.

PARAMETERS is a JSON object. Each line it prints is one, too: `{"event": …}` while it works, `{"figures": …}` at the
end. Checks what comes back: a wrong or missing result is an error.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

from benches.library import BULK, PATIENCE, Library, WorkflowLibrary, run, run_clients
from benches.summary import percentiles
from benches.tally import Tally
from benches.workflows import WORKFLOWS

Figures = dict[str, float]

#: Results that are fetched and compared after a drain, of all that must be there.
SAMPLE = 200


def tell(event: str, **details: Any) -> None:
    """Lets the harness know how far we are."""
    print(json.dumps({"event": event, **details}), flush=True)


async def publish(library: Library, seconds: float, most: int) -> Figures:
    """Messages per second of one thread that publishes and waits for each confirmation, `most` in all."""
    for _ in range(20):
        await library.send("noop")
    sent, start = 0, time.perf_counter()
    while (taken := time.perf_counter() - start) < seconds and sent < most:
        await library.send("noop")
        sent += 1
    return {"per_second": sent / taken}


async def publish_together(library: Library, seconds: float, most: int, clients: int) -> Figures:
    """Messages per second of many that publish one by one at once, `most` in all."""
    start = time.perf_counter()
    found = await run_clients(library, clients, lambda _: _publish(library, seconds, most // clients))
    return {"per_second": sum(found) / (time.perf_counter() - start)}


async def _publish(library: Library, seconds: float, most: int) -> int:
    sent, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end and sent < most:
        await library.send("noop")
        sent += 1
    return sent


async def publish_bulk(library: Library, seconds: float, most: int) -> Figures:
    """Messages per second given to the library's bulk call by the thousand, `most` in all."""
    calls: list[tuple[Any, ...]] = [()] * BULK
    await library.send_many("noop", calls[:20])
    sent, start = 0, time.perf_counter()
    while (taken := time.perf_counter() - start) < seconds and sent < most:
        sent += len(await library.send_many("noop", calls))
    return {"per_second": sent / taken}


async def ready(library: Library) -> Figures:
    """Sends a task: a worker that runs it is ready. The harness looks at the tally."""
    await library.send("count")
    return {}


async def drain(library: Library, count: int, task: str, patience: float, value: float | None = None) -> Figures:
    """Tasks per second of a worker that finds `count` waiting.

    With the task `stamp`: from the first task's start to the moment when the last result can be had, and all results
    are checked. With the others, called with `value`: from the first one counted to the last.
    """
    tally = Tally(os.environ["BENCH_TALLY"])
    arguments: tuple[Any, ...] = () if value is None else (value,)
    calls = [(number,) for number in range(count)] if task == "stamp" else [arguments] * count
    sent: list[Any] = []
    for start in range(0, count, BULK):
        sent += await library.send_many(task, calls[start : start + BULK])
    tell("filled")
    ran = tally.wait(1, patience, 0.001)
    begun = time.time()
    tell("begun", ran=ran)
    tally.wait(count, patience)
    ended = time.time()
    if task == "stamp":
        ran, (begun, ended) = 0, await _results(library, sent)
    tell("drained")
    if task == "stamp":
        await _check(library, sent)
    seconds = max(ended - begun, 1e-6)
    return {"per_second": (count - ran) / seconds, "seconds": seconds, "repeated": tally.total() - count}


async def _results(library: Library, sent: list[Any]) -> tuple[float, float]:
    """When the first task ran, and when the last results were there."""
    for result in sent[-50:]:
        await library.get(result)
    ended = time.time()
    started = [(await library.get(result))[1] for result in sent[:-50][:50] or sent[:1]]
    return min(started), ended


async def _check(library: Library, sent: list[Any]) -> None:
    """Every task must have a result, and a sample of them the right one."""
    checked = sent[:-50][50:] or sent[:0]
    deadline = time.monotonic() + PATIENCE
    while missing := await library.missing(checked):
        if time.monotonic() > deadline:
            raise RuntimeError(f"{missing:,} of {len(sent):,} tasks have no result")
        time.sleep(0.05)
    for number in range(50, len(sent) - 50, max(1, len(sent) // SAMPLE)):
        value, _ = await library.get(sent[number])
        if value != number:
            raise RuntimeError(f"task {number} returned {value}")


async def round_trip(library: Library, seconds: float) -> Figures:
    """Milliseconds from sending a task to its result in hand, one at a time."""
    taken = await _round_trips(library, seconds, 0, least=10)
    return percentiles(taken)


async def round_trip_many(library: Library, seconds: float, clients: int) -> Figures:
    """The same with many clients at once; and their round trips per second."""
    start = time.perf_counter()
    taken = await run_clients(library, clients, lambda number: _round_trips(library, seconds, number, least=2))
    total = [value for values in taken for value in values]
    return {"per_second": len(total) / (time.perf_counter() - start), **percentiles(total)}


async def _round_trips(library: Library, seconds: float, client: int, least: int) -> list[float]:
    for number in range(least // 2):
        await library.get(await library.send("echo", number))
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while (start := time.perf_counter()) < end or len(taken) < least:
        value = f"{client}-{len(taken)}"
        found = await library.get(await library.send("echo", value))
        taken.append((time.perf_counter() - start) * 1000)
        if found != value:
            raise RuntimeError(f"sent {value}, received {found}")
    return taken


async def start_latency(library: Library, seconds: float) -> Figures:
    """Milliseconds from before a task is sent to its first line, one at a time."""
    for _ in range(3):
        await library.get(await library.send("now"))
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(taken) < 10:
        start = time.time()
        taken.append((await library.get(await library.send("now")) - start) * 1000)
    return percentiles(taken)


async def workflow(library: WorkflowLibrary, kind: str, size: int, patience: float) -> Figures:
    """Seconds from building a workflow to its result in hand, and the most memory (MB) this process took for it."""
    begun = time.perf_counter()
    sent = await library.send_workflow(kind, size)
    sending = time.perf_counter() - begun
    # The header of a chord is waited for by its body: nobody need ask for it.
    found = sent.get(timeout=patience)
    seconds = time.perf_counter() - begun
    if found != WORKFLOWS[kind].expected(size):
        raise RuntimeError(f"the {kind} of {size:,} returned {str(found)[:200]}")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "sending": sending, "memory": memory}


MEASURES: dict[str, Callable[..., Coroutine[Any, Any, Figures]]] = {
    function.__name__: function
    for function in (
        publish, publish_together, publish_bulk, ready, drain, round_trip, round_trip_many, start_latency,
        workflow,
    )
}  # fmt: skip


async def measure(library: Library, name: str, parameters: dict[str, Any]) -> Figures:
    """Runs one measure."""
    await library.open()
    return await MEASURES[name](library, **parameters)


def main() -> None:
    """The command."""
    module, name, parameters = sys.argv[1:4]
    library: Library = importlib.import_module(module).library
    figures = run(library, measure(library, name, json.loads(parameters)))
    print(json.dumps({"figures": figures}), flush=True)
    # Libraries leave threads, connections and event loops behind that need not be waited for.
    os._exit(0)


if __name__ == "__main__":
    main()
