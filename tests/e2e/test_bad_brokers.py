"""A Redis that cannot or will not: who publishes hears so in the server's words, and goes on when it is put right."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from apps import basic
from apps.basic import notes
from servers.own_server import free_port
from servers.proxy import SlowProxy
from servers.redis_server import RedisServer
from servers.stack import PATIENCE
from servers.worker_process import READY, StartWorker, WorkerProcess, urls, wait_until

from umbel import Umbel
from umbel._native import NativeError
from umbel.exceptions import ImproperlyConfigured, OperationalError
from umbel.exceptions import TimeoutError as ResultTimeoutError

_SECRET = "geheim"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One for the module; each test puts right what it breaks."""
    folder: Path = tmp_path_factory.mktemp("redis")
    found = RedisServer(folder)
    yield found
    found.stop()


@pytest.fixture
def admin(server: RedisServer) -> Iterator[redis.Redis]:
    """Who breaks the server."""
    with server.connect(0) as connection:
        yield connection


def _app(url: str) -> Umbel:
    return basic.build(broker_url=url, result_backend=url)


def _publish(app: Umbel) -> None:
    app.tasks["basic.add"].apply_async((1, 1), retry=False)


def _run(admin: redis.Redis, *words: str) -> None:
    run: Callable[..., object] = admin.execute_command
    run(*words)


def test_out_of_memory_is_said_and_passes(server: RedisServer, admin: redis.Redis) -> None:
    app = _app(server.url())
    _publish(app)
    admin.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(OperationalError, match="cannot do this now: OOM"):
            _publish(app)
    finally:
        admin.config_set("maxmemory", "0")
    _publish(app)


def test_a_replica_refuses_until_it_is_promoted(server: RedisServer, admin: redis.Redis) -> None:
    app = _app(server.url())
    _publish(app)
    _run(admin, "REPLICAOF", "127.0.0.1", "1")
    try:
        with pytest.raises(OperationalError, match="cannot do this now: READONLY"):
            _publish(app)
    finally:
        _run(admin, "REPLICAOF", "NO", "ONE")
    _publish(app)


def test_a_wrong_password_is_said_and_never_printed(server: RedisServer) -> None:
    with pytest.raises(OperationalError, match="refused access: WRONGPASS") as caught:
        _publish(_app(f"redis://joe:{_SECRET}@127.0.0.1:{server.port}/0"))
    assert _SECRET not in str(caught.value)


def test_a_missing_permission_names_the_command(server: RedisServer, admin: redis.Redis) -> None:
    _run(admin, "ACL", "SETUSER", "ann", "on", f">{_SECRET}", "~*", "&*", "+@all", "-lpush")
    with pytest.raises(OperationalError, match=r"NOPERM .*'lpush'") as caught:
        _publish(_app(f"redis://ann:{_SECRET}@127.0.0.1:{server.port}/0"))
    assert _SECRET not in str(caught.value)


def test_a_rotated_password_keeps_who_is_connected(server: RedisServer, admin: redis.Redis) -> None:
    connected = _app(server.url())
    _publish(connected)
    admin.config_set("requirepass", _SECRET)
    try:
        _publish(connected)
        with pytest.raises(OperationalError, match="refused access: NOAUTH"):
            _publish(_app(server.url()))
    finally:
        admin.config_set("requirepass", "")
    _publish(_app(server.url()))


@pytest.mark.parametrize("command", ["SCRIPT FLUSH", "FLUSHALL"])
def test_forgotten_scripts_and_data_do_not_stop_publishing(
    server: RedisServer, admin: redis.Redis, command: str
) -> None:
    app = _app(server.url())
    _publish(app)
    _run(admin, *command.split())
    _publish(app)
    assert admin.llen("celery") >= 1


def test_nobody_listening_is_said() -> None:
    with pytest.raises(OperationalError, match="Connection refused"):
        _publish(_app("redis://127.0.0.1:1/0"))


@pytest.fixture
def hanging_up() -> Iterator[SlowProxy]:
    """Who accepts connections and ends them: nobody listens behind it."""
    proxy = SlowProxy(1)
    yield proxy
    proxy.close()


def test_without_retries_there_is_one_attempt(hanging_up: SlowProxy) -> None:
    with pytest.raises(OperationalError):
        _publish(_app(f"redis://127.0.0.1:{hanging_up.port}/0"))
    assert hanging_up.connections == 1


def test_with_retries_there_are_more_until_the_pauses_of_the_policy_are_used_up(hanging_up: SlowProxy) -> None:
    app = _app(f"redis://127.0.0.1:{hanging_up.port}/0")
    started = time.monotonic()
    with pytest.raises(OperationalError):
        app.tasks["basic.add"].delay(1, 1)
    # By default 0, 0.2 and 0.4 s.
    assert time.monotonic() - started >= 0.6
    assert hanging_up.connections > 2


def test_a_server_that_does_not_answer_is_said_in_time(own_server: RedisServer) -> None:
    app = _app(f"{own_server.url()}?socket_timeout=0.3")
    os.kill(own_server.pid, signal.SIGSTOP)
    try:
        for retry in (False, True):
            with pytest.raises(OperationalError, match=r"no answer within 0\.3 s"):
                app.tasks["basic.add"].apply_async((1, 1), retry=retry)
    finally:
        os.kill(own_server.pid, signal.SIGCONT)
    # Whose answers may be as late on a busy machine.
    _publish(_app(own_server.url()))
    app.close()


def test_too_many_clients_is_said_and_passes(server: RedisServer, admin: redis.Redis) -> None:
    admin.config_set("maxclients", "1")
    try:
        with pytest.raises(OperationalError, match="max number of clients reached"):
            _publish(_app(server.url()))
    finally:
        admin.config_set("maxclients", "1000")
    _publish(_app(server.url()))


def test_a_key_of_another_kind_is_named(server: RedisServer, admin: redis.Redis) -> None:
    app = _app(server.url())
    admin.delete("celery")
    admin.set("celery", "a string")
    try:
        wrong = r'WRONGTYPE.*key "celery" is of type string instead of list'
        with pytest.raises(OperationalError, match=wrong):
            _publish(app)
        with pytest.raises(NativeError, match=wrong):
            app.client.queue_length("celery")
    finally:
        admin.delete("celery")
    _publish(app)


def test_a_cluster_is_refused_with_advice(tmp_path: Path, start_worker: StartWorker) -> None:
    # Left to itself the cluster's own port is the server's plus 10,000, which may be none.
    bus = str(free_port())
    server = RedisServer(tmp_path, "--cluster-enabled", "yes", "--cluster-port", bus, "--databases", "1")
    try:
        start_worker("-c", "1", env=urls(server.url())).wait_for("Cannot reach .*node of a Redis Cluster")
        with pytest.raises(ImproperlyConfigured, match=r"node of a Redis Cluster .*name a Redis that is no cluster"):
            _publish(_app(server.url()))
    finally:
        server.stop()


def test_slow_by_half_a_second_is_only_slow(server: RedisServer, start_worker: StartWorker) -> None:
    proxy = SlowProxy(server.port, 0.25)
    url = f"redis://127.0.0.1:{proxy.port}/5"
    try:
        app = _app(url)
        result = app.tasks["basic.add"].delay(1, 1)
        worker = start_worker("-c", "1", env=urls(url))
        assert result.get(timeout=PATIENCE) == 2
        assert "Cannot reach" not in worker.log()
        app.close()
    finally:
        proxy.close()


# --- the worker, and who waits for it


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    """One that a test breaks for a worker of its own."""
    folder = tmp_path / "redis"
    folder.mkdir()
    found = RedisServer(folder)
    yield found
    found.stop()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RedisServer, WorkerProcess]]:
    """A server and a worker on it that tests break in turn: each finds what the one before has mended."""
    folder = tmp_path_factory.mktemp("fleet")
    server = RedisServer(folder)
    worker = WorkerProcess(folder, ["-l", "INFO", "-c", "2"], urls(server.url()))
    yield server, worker.wait_ready()
    assert worker.stop() == 0, worker.log()
    server.stop()


class Held:
    """A task that runs until it is told."""

    def __init__(self, server: RedisServer, worker: WorkerProcess, folder: Path) -> None:
        self.server, self.worker = server, worker
        self.app = _app(server.url())
        self._log_before = len(worker.log())
        self._path, self._until = folder / "notes", folder / "until"
        # So that somebody is connected who waits for results.
        assert self.app.tasks["basic.add"].delay(1, 1).get(timeout=PATIENCE) == 2
        self.result = self.app.tasks["basic.hold"].delay(str(self._path), str(self._until))
        wait_until(self.runs, PATIENCE, "a running task")

    def log(self) -> str:
        """What the worker has said since."""
        return self.worker.log()[self._log_before :]

    def wait_for(self, pattern: str) -> None:
        """Until the worker says so."""
        wait_until(lambda: re.search(pattern, self.log()), PATIENCE, f"{pattern} in {self.log()}")

    def runs(self) -> int:
        """How often it began."""
        return len(notes(self._path))

    def end(self) -> None:
        """Lets the task end."""
        self._until.touch()

    def goes_on(self) -> None:
        """The next task runs, and the worker has said little."""
        assert self.app.tasks["basic.add"].delay(1, 1).get(timeout=PATIENCE) == 2
        # One line each attempt, with growing pauses.
        assert self.log().count("Cannot reach") < 12
        self.app.close()


@pytest.fixture
def held(fleet: tuple[RedisServer, WorkerProcess], tmp_path: Path) -> Held:
    return Held(*fleet, tmp_path)


def test_a_worker_ends_its_tasks_though_the_server_is_full(held: Held) -> None:
    with held.server.connect(0) as admin:
        admin.config_set("maxmemory", "1mb")
        with pytest.raises(OperationalError, match="OOM"):
            _publish(held.app)
        held.end()
        # Ending tasks makes room, so the server is made to take that.
        assert held.result.get(timeout=PATIENCE) == "held"
        admin.config_set("maxmemory", "0")
    held.goes_on()


def test_a_worker_keeps_an_outcome_until_the_server_is_no_replica_any_more(held: Held) -> None:
    with held.server.connect(0) as admin:
        _run(admin, "REPLICAOF", "127.0.0.1", "1")
        held.end()
        held.wait_for("Cannot reach .*READONLY.*Trying again in")
        with pytest.raises(ResultTimeoutError):
            held.result.get(timeout=0.1)
        _run(admin, "REPLICAOF", "NO", "ONE")
    assert held.result.get(timeout=PATIENCE) == "held"
    assert held.runs() == 1
    held.goes_on()


def test_a_worker_whose_password_was_changed_comes_back_when_it_is_right_again(held: Held) -> None:
    with held.server.connect(0) as admin:
        admin.config_set("requirepass", _SECRET)
        # Who is connected stays so; a reconnect is what fails.
        held.end()
        assert held.result.get(timeout=PATIENCE) == "held"
        _run(admin, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        held.wait_for(r"Cannot reach .*NOAUTH.*Trying again in")
        admin.config_set("requirepass", "")
    held.goes_on()
    assert _SECRET not in held.worker.log()


def test_a_worker_goes_on_after_everything_was_deleted(held: Held) -> None:
    with held.server.connect(0) as admin:
        admin.flushall()
    held.end()
    # Its message has gone with the rest; who waits for the result need not know.
    assert held.result.get(timeout=PATIENCE) == "held"
    held.goes_on()


def test_a_worker_goes_on_after_the_scripts_were_deleted(held: Held) -> None:
    with held.server.connect(0) as admin:
        admin.script_flush()
    held.end()
    assert held.result.get(timeout=PATIENCE) == "held"
    held.goes_on()


def test_a_worker_waits_while_there_are_too_many_clients(own_server: RedisServer, start_worker: StartWorker) -> None:
    with own_server.connect(0) as admin:
        admin.config_set("maxclients", "1")
        worker = start_worker("-c", "1", env=urls(own_server.url()))
        worker.wait_for(r"Cannot reach .*max number of clients reached.*Trying again in")
        assert not re.search(READY, worker.log())
        admin.config_set("maxclients", "1000")
    worker.wait_ready()
    assert worker.stop() == 0


def test_a_worker_names_the_key_that_is_in_its_way(own_server: RedisServer, start_worker: StartWorker) -> None:
    app = _app(own_server.url())
    with own_server.connect(0) as admin:
        admin.set("celery", "a string")
        worker = start_worker("-c", "1", env=urls(own_server.url()))
        worker.wait_for(r'Cannot reach .*WRONGTYPE.*key "celery" is of type string instead of list.*Trying again in')
        admin.delete("celery")
    assert app.tasks["basic.add"].delay(1, 1).get(timeout=PATIENCE) == 2
    app.close()
    assert worker.stop() == 0


def test_a_worker_waits_until_it_may_do_what_it_must(own_server: RedisServer, start_worker: StartWorker) -> None:
    with own_server.connect(0) as admin:
        _run(admin, "ACL", "SETUSER", "ann", "on", ">another")
        url = f"redis://ann:{_SECRET}@127.0.0.1:{own_server.port}/0"
        worker = start_worker("-c", "1", env=urls(url))
        worker.wait_for("Cannot reach .*refused access: WRONGPASS.*Trying again in")
        _run(admin, "ACL", "SETUSER", "ann", "on", f">{_SECRET}", "~*", "&*", "+@all", "-evalsha")
        worker.wait_for("Cannot reach .*refused access: NOPERM.*'evalsha'.*Trying again in")
        assert not re.search(READY, worker.log())
        _run(admin, "ACL", "SETUSER", "ann", "+evalsha")
    worker.wait_ready()
    assert worker.stop() == 0
    assert _SECRET not in worker.log()


@pytest.mark.parametrize(("policy", "warned"), [("allkeys-lru", True), ("noeviction", False)])
def test_a_worker_warns_of_a_server_that_throws_things_away(
    own_server: RedisServer, start_worker: StartWorker, policy: str, warned: bool
) -> None:
    with own_server.connect(0) as admin:
        admin.config_set("maxmemory-policy", policy)
    worker = start_worker("-c", "1", env=urls(own_server.url())).wait_ready()
    assert (f"maxmemory-policy {policy}" in worker.log()) is warned
    assert worker.stop() == 0


def test_waiting_for_a_result_ends_in_time_without_the_server(own_server: RedisServer) -> None:
    app = _app(own_server.url())
    result = app.tasks["basic.add"].delay(1, 1)
    own_server.kill()
    with pytest.raises(OperationalError, match="lost"):
        result.get(timeout=0.5)
    own_server.start()
    with pytest.raises(ResultTimeoutError):
        result.get(timeout=2)
    app.close()


def test_waiting_for_a_result_outlasts_a_restart(held: Held) -> None:
    heard: list[str] = []
    waiting = threading.Thread(target=lambda: heard.append(held.result.get(timeout=60)))
    waiting.start()
    held.server.kill()
    held.wait_for("Cannot reach")
    held.server.start()
    held.end()
    waiting.join(60)
    assert heard == ["held"]
    held.goes_on()
