"""The first thing to run: a worker on a SQLite file, a few thousand real tasks, their results and figures.

It needs no server. The database lives in a temporary folder and goes with it.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from umbel.exceptions import TimeoutError

HERE = Path(__file__).parent
PROJECT = HERE.parent.parent
SOURCES = ("*.py", "*.pyi", "*.rs", "*.lua", "*.sql", "*.toml", "*.md")
SKIPPED = {"target", "node_modules", "dist"}
LINES_PER_TASK = 12
PARTS_PER_COMBINE = 64
ROUND_TRIPS = 300
CONCURRENCY = 2
WAIT = 120.0

console = Console()


def source_files() -> list[Path]:
    """Every source file of this project."""
    found = (path for pattern in SOURCES for path in PROJECT.rglob(pattern))
    return sorted(path for path in found if not any(map(is_skipped, path.relative_to(PROJECT).parts)))


def is_skipped(name: str) -> bool:
    """Of a folder or file: what was built or installed, and what is hidden."""
    return name in SKIPPED or name.startswith(".")


def blocks(path: Path) -> Iterator[tuple[str, int, int]]:
    """`(path, first line, last line)` of each piece of a file."""
    with open(path, encoding="utf-8", errors="replace") as lines:
        length = sum(1 for _ in lines)
    for first in range(0, length, LINES_PER_TASK):
        yield str(path), first, first + LINES_PER_TASK


def start_worker(folder: Path) -> subprocess.Popen[bytes]:
    """A real worker process, logging into the folder."""
    command = [sys.executable, "-m", "umbel", "-A", "tasks", "worker", "-c", str(CONCURRENCY), "-l", "INFO"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    with open(folder / "worker.log", "wb") as log:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)


def await_worker(worker: subprocess.Popen[bytes], first: Any) -> None:
    """Returns when the first result is there; says so if the worker could not start."""
    deadline = time.monotonic() + WAIT
    while True:
        try:
            first.get(timeout=1)
            return
        except TimeoutError:
            if worker.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the worker did not start; its log follows") from None


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` of the sorted values lie."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def send_and_collect(
    tasks: Any, files: Sequence[Path], progress: Progress
) -> tuple[dict[str, int], dict[str, str], int]:
    """Publishes everything, then takes the results in as they come; combines them by more tasks."""
    pieces = [piece for path in files for piece in blocks(path)]
    total = len(files) + len(pieces)
    sending = progress.add_task("sent", total=total)
    finishing = progress.add_task("finished", total=total)

    def send(call: tuple[Any, tuple[Any, ...]]) -> Any:
        task, arguments = call
        result = task.delay(*arguments)
        progress.advance(sending)
        return result

    def take(result: Any) -> Any:
        value = result.get(timeout=WAIT)
        progress.advance(finishing)
        return value

    calls = [(tasks.hash_file, (str(path),)) for path in files] + [(tasks.count_words, piece) for piece in pieces]
    with ThreadPoolExecutor(16) as threads:
        results = list(threads.map(send, calls))
    values = [take(result) for result in results]
    hashes = dict(zip((str(path) for path in files), values[: len(files)], strict=True))
    parts: list[dict[str, int]] = values[len(files) :]
    while len(parts) > 1:
        groups = [parts[start : start + PARTS_PER_COMBINE] for start in range(0, len(parts), PARTS_PER_COMBINE)]
        progress.update(sending, total=total + len(groups))
        progress.update(finishing, total=total + len(groups))
        total += len(groups)
        parts = [take(result) for result in [send((tasks.combine, (group,))) for group in groups]]
    return parts[0], hashes, total


def round_trips(tasks: Any) -> list[float]:
    """Milliseconds from `delay()` to the result, one task at a time, sorted."""
    path = str(HERE / "tasks.py")
    taken = []
    for _ in range(ROUND_TRIPS):
        start = time.perf_counter()
        tasks.hash_file.delay(path).get(timeout=WAIT)
        taken.append((time.perf_counter() - start) * 1000)
    return sorted(taken)


def stop_worker(worker: subprocess.Popen[bytes]) -> str:
    """Asks the worker to end as a process manager would, and says how it went."""
    start = time.perf_counter()
    worker.send_signal(signal.SIGTERM)
    code = worker.wait(timeout=40)
    return f"worker stopped with exit code {code} in {time.perf_counter() - start:.2f} s"


def report(words: dict[str, int], hashes: dict[str, str], total: int, seconds: float, latencies: list[float]) -> None:
    """Prints what was computed and how fast."""
    top = sorted(words.items(), key=lambda item: (-item[1], item[0]))[:10]
    table = Table()
    table.add_column("most used words of this project")
    table.add_column("count", justify="right")
    for word, count in top:
        table.add_row(word, f"{count:,}")
    console.print(table)
    console.print(f"{len(hashes):,} files hashed, {sum(words.values()):,} words counted, {total:,} tasks")
    figures = Table()
    figures.add_column(f"durable SQLite file, {CONCURRENCY} processes")
    figures.add_column("figure", justify="right")
    figures.add_row("tasks per second, sent to collected", f"{total / seconds:,.0f}")
    for share in (0.5, 0.9, 0.99):
        figures.add_row(f"round trip p{share * 100:g}", f"{percentile(latencies, share):.2f} ms")
    console.print(figures)


def main() -> int:
    """Runs the demonstration; 0 when the worker ended cleanly."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=None, help="count only this many files of the project")
    files = source_files()[: parser.parse_args().files]
    with tempfile.TemporaryDirectory(prefix="umbel-quickstart-") as name:
        folder = Path(name)
        os.chdir(folder)
        sys.path.insert(0, str(HERE))
        import tasks  # here: the application's database belongs into the folder just entered

        worker = start_worker(folder)
        try:
            await_worker(worker, tasks.hash_file.delay(str(HERE / "tasks.py")))
            columns = (TextColumn("{task.description:>10}"), BarColumn(40), MofNCompleteColumn(), TimeElapsedColumn())
            start = time.perf_counter()
            with Progress(*columns, console=console) as progress:
                words, hashes, total = send_and_collect(tasks, files, progress)
            seconds = time.perf_counter() - start
            latencies = round_trips(tasks)
            report(words, hashes, total, seconds, latencies)
            console.print(stop_worker(worker))
        except BaseException:
            worker.kill()
            console.print((folder / "worker.log").read_text(errors="replace"), style="dim", markup=False)
            raise
        finally:
            worker.wait()
            os.chdir(HERE)
    return worker.returncode


if __name__ == "__main__":
    sys.exit(main())
