"""Tasks that break what they can reach: each ends as `docs/bad-days.md` says, and the worker runs the next one."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apps import unruly
from apps.basic import notes
from servers.stack import PATIENCE
from servers.worker_process import WorkerProcess, alive, urls, wait_until

from umbel import Umbel, states
from umbel.exceptions import EncodeError, TimeLimitExceeded, UnpickleableExceptionWrapper, WorkerLostError
from umbel.result import AsyncResult


class Bench:
    """A worker and its client's side."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        url = f"sqlite:///{folder}/umbel.sqlite3"
        self.app: Umbel = unruly.build(broker_url=url, result_backend=url)
        self.worker = WorkerProcess(folder, ["-l", "INFO", *arguments], urls(url), app="apps.unruly")

    def send(self, name: str, *args: Any, **options: Any) -> AsyncResult[Any]:
        """Calls a task."""
        return self.app.tasks[f"unruly.{name}"].apply_async(args, **options)

    def run(self, name: str, *args: Any, **options: Any) -> Any:
        """What a task returns."""
        return self.send(name, *args, **options).get(timeout=PATIENCE)

    def goes_on(self, pid: int | None = None) -> None:
        """The next task runs: in the process `pid`, if given."""
        found = self.run("fine")
        assert pid is None or found == pid

    def close(self) -> None:
        self.app.close()
        assert self.worker.stop() == 0, self.worker.log()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One child for all tests: what one task breaks meets the next."""
    found = Bench(tmp_path_factory.mktemp("prefork"), "-c", "1")
    found.worker.wait_ready()
    yield found
    found.close()


@pytest.fixture(scope="module", params=["threads", "solo"])
def in_process(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Tasks in the main process."""
    found = Bench(tmp_path_factory.mktemp(request.param), "-c", "1", "-P", request.param)
    found.worker.wait_ready()
    yield found
    found.close()


# --- what it returns and raises


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("lock", UnpickleableExceptionWrapper),
        ("unprintable", unruly.Unprintable),
        ("pickling", Exception),
        ("group", BaseException),
        ("long", EncodeError),
    ],
)
def test_any_exception_is_a_failure(bench: Bench, kind: str, error: type[BaseException]) -> None:
    pid = bench.run("fine")
    result = bench.send("raises", kind)
    with pytest.raises(error):
        result.get(timeout=PATIENCE)
    assert result.state == states.FAILURE
    bench.goes_on(pid)


def test_a_result_that_is_too_large_is_a_failure_that_names_the_setting(bench: Bench) -> None:
    assert bench.run("returns", "x", unruly.MAX_BYTES // 2) == "x" * (unruly.MAX_BYTES // 2)
    with pytest.raises(EncodeError, match=f"worker_max_message_bytes allows {unruly.MAX_BYTES}"):
        bench.run("returns", "x", unruly.MAX_BYTES)
    assert "INTERNAL ERROR" not in bench.worker.log()


def test_lone_surrogates_arrive_as_they_were(bench: Bench) -> None:
    assert bench.run("surrogate", "return") == "\udc80 alone"
    with pytest.raises(ValueError, match="\udc80 alone"):
        bench.run("surrogate", "raise")
    assert bench.run("returns", "\udc80") == "\udc80"


# --- how its process ends


@pytest.mark.parametrize(("name", "args", "how"), [("exits", (0,), "exit code 0"), ("exits", (3,), "exit code 3"),
                                                  ("segfaults", (), "SIGSEGV")])  # fmt: skip
def test_a_task_that_always_ends_its_process_fails_in_the_end(
    bench: Bench, name: str, args: tuple[int, ...], how: str
) -> None:
    result = bench.send(name, *args)
    with pytest.raises(WorkerLostError, match="task_max_deliveries"):
        result.get(timeout=PATIENCE)
    assert how in bench.worker.log()
    letters = [letter for letter in bench.app.client.dead_letters() if result.id in str(letter["headers"])]
    assert len(letters) == 1
    bench.goes_on()


@pytest.mark.parametrize("how", ["close", "replace"])
def test_a_task_that_loses_the_link_ends_its_process_and_writes_nothing_elsewhere(
    bench: Bench, tmp_path: Path, how: str
) -> None:
    path = tmp_path / "file"
    with pytest.raises(WorkerLostError, match="task_max_deliveries"):
        bench.run("loses_link", how, str(path))
    assert path.read_bytes() == b""
    assert "has a task closed descriptors that are not its own?" in bench.worker.log()
    bench.goes_on()


def test_a_task_that_closes_the_first_descriptors_is_still_heard(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert bench.run("closes_all", str(path)) == "still heard"
    assert path.read_bytes() == b""
    bench.goes_on()


# --- what belongs to the process


def test_closed_streams_are_there_again_for_the_next_task(bench: Bench) -> None:
    pid = bench.run("closes_streams")
    assert bench.run("opens") > 2
    bench.worker.wait_for("on stdout")
    bench.goes_on(pid)


def test_a_thread_that_a_task_left_neither_holds_up_the_next_nor_the_child(bench: Bench, tmp_path: Path) -> None:
    pid = bench.run("starts_thread", str(tmp_path / "until"))
    bench.goes_on(pid)
    (tmp_path / "until").touch()


def test_an_alarm_of_one_task_does_not_strike_in_the_next(bench: Bench) -> None:
    pid = bench.run("leaks", "alarm", 0.3)
    assert bench.run("sleeps", 0.5) == "undisturbed"
    bench.goes_on(pid)


@pytest.mark.parametrize("what", ["handler", "mask"])
def test_soft_limits_hold_for_the_task_after_one_that_turned_signals_off(bench: Bench, what: str) -> None:
    pid = bench.run("leaks", what, 0)
    assert bench.run("sleeps", 20, soft_time_limit=0.2) == "interrupted"
    bench.goes_on(pid)


def test_folder_and_umask_stay_as_a_task_left_them(bench: Bench) -> None:
    bench.run("leaks", "folder", 0)
    assert bench.run("looks") == ["/", 0o077]


def test_running_out_of_memory_is_a_failure_and_the_child_goes_on(bench: Bench) -> None:
    pid = bench.run("fine")
    with pytest.raises(MemoryError):
        bench.run("eats", 64)
    bench.goes_on(pid)


# --- limits


def test_a_task_that_ignores_its_soft_limit_is_killed_at_the_hard_one(bench: Bench) -> None:
    with pytest.raises(TimeLimitExceeded):
        bench.run("ignores_limit", soft_time_limit=0.1, time_limit=0.5)
    bench.goes_on()


@pytest.mark.parametrize("how", ["block", "ignore"])
def test_a_task_that_hears_no_signal_is_killed_at_the_hard_limit(bench: Bench, tmp_path: Path, how: str) -> None:
    with pytest.raises(TimeLimitExceeded):
        bench.run("ignores_signals", how, str(tmp_path / "pid"), soft_time_limit=0.1, time_limit=0.5)
    assert not alive(int(notes(tmp_path / "pid")[0]))
    bench.goes_on()


@pytest.mark.parametrize("how", ["block", "ignore"])
def test_a_cold_stop_ends_a_task_that_hears_no_signal(tmp_path: Path, how: str) -> None:
    bench = Bench(tmp_path, "-c", "1")
    bench.worker.wait_ready()
    bench.send("ignores_signals", how, str(tmp_path / "pid"))
    pid = int(wait_until(lambda: notes(tmp_path / "pid"), PATIENCE, "the task")[0])
    assert bench.worker.stop(signal.SIGQUIT) == 0
    wait_until(lambda: not alive(pid), 5, "the end of the child")
    assert bench.app.client.queue_length("celery") == 1
    bench.app.close()


# --- forks


@pytest.mark.parametrize(("ending", "status"), [("return", 0), ("exit", 3), ("raise", 1)])
def test_a_fork_ends_where_the_task_ends(bench: Bench, tmp_path: Path, ending: str, status: int) -> None:
    path = tmp_path / "notes"
    pid, ended = bench.run("forks", ending, str(path))
    assert ended == status
    assert not alive(int(notes(path)[0]))
    bench.goes_on(pid)
    assert "INTERNAL ERROR" not in bench.worker.log()


@pytest.mark.parametrize(("ending", "status"), [("return", 0), ("exit", 3), ("raise", 1)])
def test_a_fork_in_the_main_process_ends_where_the_task_ends(
    in_process: Bench, tmp_path: Path, ending: str, status: int
) -> None:
    pid, ended = in_process.run("forks", ending, str(tmp_path / "notes"))
    assert (pid, ended) == (in_process.worker.pid, status)
    in_process.goes_on(pid)
    log = in_process.worker.log()
    assert "INTERNAL ERROR" not in log
    assert "shutdown" not in log


def test_a_process_that_outlives_its_task_is_reaped(bench: Bench, tmp_path: Path) -> None:
    path, until = tmp_path / "notes", tmp_path / "until"
    bench.run("leaves_orphan", str(path), str(until))
    orphan = int(wait_until(lambda: notes(path), PATIENCE, "the orphan")[0])
    bench.goes_on()
    until.touch()
    wait_until(lambda: not Path(f"/proc/{orphan}").exists(), PATIENCE, "the end of the orphan")


# --- in threads


@pytest.mark.parametrize("kind", ["unprintable", "group", "long"])
def test_a_slot_survives_any_exception(in_process: Bench, kind: str) -> None:
    with pytest.raises(BaseException):  # noqa: B017, PT011, one of them is no Exception; which is tested above
        in_process.run("raises", kind)
    in_process.goes_on(in_process.worker.pid)
