"""A Redis that cannot or will not: who publishes hears so in the server's words, and goes on when it is put right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from apps import basic
from servers.redis_server import RedisServer

from umbel import Umbel
from umbel.exceptions import OperationalError

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
