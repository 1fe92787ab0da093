"""A crowd of coroutines: `python -m benches.crowd` (`--tasks 5000 --nap 5`).

One process of the asyncio pool runs tasks that sleep, all at a time. Printed are how many there were, the process's
memory, and the longest time for which the event loop did not come round although nothing but Umbel's own work was to be
done. Where other programs compete for the processors, the time it computed says more than the time that passed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: How long the worker may take beyond the nap (seconds).
PATIENCE = 120.0


def measure(tasks: int, nap: float, broker: str | None = None) -> dict[str, float]:
    """Figures of one crowd, by a worker that is started for it. Without a broker: a SQLite file."""
    with tempfile.TemporaryDirectory() as folder:
        url = broker or f"sqlite:///{folder}/umbel.sqlite3"
        os.environ["BENCH_BROKER"] = url
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        command = ["-m", "umbel", "-q", "-A", "benches.apps.crowd_app", "worker", "-P", "asyncio", "-c", str(tasks + 1)]
        worker = subprocess.Popen(
            [sys.executable, *command], cwd=folder, env={**os.environ, "PYTHONPATH": path, "BENCH_BROKER": url}
        )
        try:
            return _run(tasks, nap)
        finally:
            worker.terminate()
            worker.wait()


def _run(tasks: int, nap: float) -> dict[str, float]:
    from benches.apps import crowd_app

    watch = crowd_app.watch.delay(tasks)
    before = time.perf_counter()
    crowd_app.nap.apply_async_many([(nap,)] * tasks)
    sent = time.perf_counter() - before
    figures: dict[str, float] = watch.get(timeout=nap + PATIENCE)
    crowd_app.app.close()
    return {**figures, "sent": sent}


def main(argv: list[str] | None = None) -> int:
    """The exit status is 1 if the crowd was not complete at any time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=5_000, help="how many [5000]")
    parser.add_argument("--nap", type=float, default=5.0, help="how long each sleeps, seconds [5]")
    parser.add_argument("--broker", help="its URL [a SQLite file]")
    options = parser.parse_args(argv)
    figures = measure(options.tasks, options.nap, options.broker)
    sys.stdout.write(
        f"{figures['most']:.0f} of {options.tasks} tasks at a time in one process, {figures['kib'] / 1024:.0f} MiB; "
        f"loop held up for {figures['worst_ms']:.1f} ms at most, computing for {figures['busy_ms']:.1f} ms at most; "
        f"{figures['seconds']:.2f} s from the first task to the last\n"
    )
    return 0 if figures["most"] == options.tasks else 1


if __name__ == "__main__":
    sys.exit(main())
