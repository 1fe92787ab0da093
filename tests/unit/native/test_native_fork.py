"""Forking after use: the child connects anew, the parent notices nothing."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PRELUDE = """
import os, signal, socket, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # fork in a process with threads: the point of this test
from task_messages import message
from umbel._native import ChildLink, Client, ForkedError, Worker

url = sys.argv[1]

def in_child(work):
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        try:
            work()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0, "the child failed"
"""


def run(script: str, url: str) -> None:
    source = PRELUDE + textwrap.dedent(script)
    here = str(Path(__file__).parent)
    program = [sys.executable, "-c", f"import sys; sys.path.insert(0, {here!r})\n{source}", url]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def file_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'store.sqlite3'}"


def test_a_child_publishes_and_waits_and_the_parent_goes_on(file_url: str) -> None:
    run(
        """
        client = Client(url, url, {})
        client.publish([message("parent")])
        client.store_result("parent", "SUCCESS", b"1", None)
        assert client.wait_result("parent", None, 5) == b"1"

        def work():
            client.publish([message("child")])
            client.store_result("child", "SUCCESS", b"2", None)
            assert client.wait_result("child", None, 5) == b"2"
            assert client.wait_result("parent", None, 5) == b"1"

        for count in range(5):
            in_child(work)
            assert client.queue_length("celery") == 2 + 2 * count
            client.publish([message("more")])
            assert client.wait_result("child", None, 5) == b"2"
        """,
        file_url,
    )


def test_a_child_of_a_child(file_url: str) -> None:
    run(
        """
        client = Client(url, url, {})
        client.publish([message("a")])

        def work():
            client.publish([message("b")])
            in_child(lambda: client.publish([message("c")]))
            client.publish([message("d")])

        in_child(work)
        assert client.queue_length("celery") == 4
        """,
        file_url,
    )


def test_forking_while_other_threads_publish_and_wait(file_url: str) -> None:
    run(
        """
        import threading
        client = Client(url, url, {})
        stop = threading.Event()

        def busy(number):
            while not stop.is_set():
                client.publish([message("busy")])
                client.wait_result(f"never-{number}", None, 0.001)

        threads = [threading.Thread(target=busy, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()

        def work():
            client.publish([message("child", "children")])
            client.store_result("child", "SUCCESS", b"2", None)
            assert client.wait_result("child", None, 10) == b"2"

        for _ in range(20):
            in_child(work)
        stop.set()
        for thread in threads:
            thread.join()
        assert client.queue_length("children") == 20
        """,
        file_url,
    )


def test_multiprocessing_children_publish(file_url: str) -> None:
    run(
        """
        import multiprocessing
        client = Client(url, url, {})
        client.publish([message("a")])

        def publish(number):
            client.publish([message(str(number))])

        with multiprocessing.get_context("fork").Pool(4) as pool:
            pool.map(publish, range(40))
        assert client.queue_length("celery") == 41
        """,
        file_url,
    )


def test_a_worker_and_a_link_stay_with_their_process(file_url: str) -> None:
    run(
        """
        worker = Worker(url, url, {})
        worker.start()
        ours, theirs = socket.socketpair()
        link = ChildLink(theirs.detach())

        def work():
            for use in (worker.drain, worker.stats, lambda: worker.stop("cold"), lambda: link.next(0), link.flush):
                try:
                    use()
                except ForkedError as error:
                    assert f"process {os.getppid()}" in str(error)
                else:
                    raise AssertionError(use)
            globals().pop("worker")
            globals().pop("link")

        in_child(work)
        assert worker.stats()["children"] == 0
        assert not link.stopped
        worker.stop("cold")
        """,
        file_url,
    )
