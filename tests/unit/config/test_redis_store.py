"""`redis_host` and its kin fill what the URL of a Redis result store leaves open."""

import pytest

from umbel.config import Settings

PARTS = {"redis_host": "store", "redis_port": 7000, "redis_db": 3}


@pytest.mark.parametrize(
    ("given", "parts", "url"),
    [
        ("redis", PARTS, "redis://store:7000/3"),
        ("rediss", PARTS, "rediss://store:7000/3"),
        ("redis", {}, "redis://localhost/0"),
        ("redis", {"redis_host": "::1", "redis_port": 7000}, "redis://[::1]:7000/0"),
        # The path of a URL always names a database, as in Celery.
        ("redis://", PARTS, "redis://store:7000/"),
        ("redis:///2", PARTS, "redis://store:7000/2"),
        ("redis://:pw@/2?ssl=1", PARTS, "redis://:pw@store:7000/2?ssl=1"),
        ("redis://host", PARTS, "redis://host:7000/"),
        ("redis://[::2]/1", PARTS, "redis://[::2]:7000/1"),
        # What the URL says wins, and what it does not mean is left alone.
        ("redis://host:1/2", PARTS, "redis://host:1/2"),
        ("redis://host/2", {"redis_db": 3}, "redis://host/2"),
        ("redis://a,b/1", PARTS, "redis://a,b/1"),
        ("redis://a;redis://b", PARTS, "redis://a;redis://b"),
        ("sqlite:///x", PARTS, "sqlite:///x"),
        ("sentinel://a", PARTS, "sentinel://a"),
        ("db+postgresql://h/d", PARTS, "db+postgresql://h/d"),
    ],
)
def test_the_url_is_completed(given: str, parts: dict[str, object], url: str) -> None:
    assert Settings(broker_url="memory://", result_backend=given, **parts)["result_backend"] == url


def test_options_by_name_come_after_those_of_the_transport() -> None:
    settings = Settings(
        broker_url="memory://",
        result_backend="redis://host/0",
        redis_username="user",
        redis_password="word",
        redis_socket_timeout=3,
        redis_socket_connect_timeout=2,
        redis_socket_keepalive=False,
        result_backend_transport_options={"socket_timeout": 4},
    )
    assert settings["result_backend_transport_options"] == {
        "username": "user",
        "password": "word",
        "socket_timeout": 4,
        "socket_connect_timeout": 2.0,
        "socket_keepalive": False,
    }


def test_other_stores_and_defaults_get_no_options() -> None:
    other = Settings(broker_url="memory://", result_backend="sqlite:///x", redis_password="word")
    assert not other["result_backend_transport_options"]
    assert not Settings(broker_url="memory://", result_backend="redis://h")["result_backend_transport_options"]
