"""`app.conf`."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from umbel.config import DEFAULT_URL, Settings, hide_password
from umbel.exceptions import ImproperlyConfigured


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BROKER_URL", "BROKER_READ_URL", "BROKER_WRITE_URL", "RESULT_BACKEND"):
        monkeypatch.delenv(f"CELERY_{name}", raising=False)
        monkeypatch.delenv(f"UMBEL_{name}", raising=False)


def test_without_a_broker_a_file_is_broker_and_store() -> None:
    settings = Settings()
    assert settings.broker_url == settings.result_backend == DEFAULT_URL


def test_a_broker_elsewhere_brings_no_store() -> None:
    assert Settings(broker_url="redis://h").result_backend is None
    assert Settings(broker_url="sqlite:///a").result_backend == "sqlite:///a"
    assert Settings(broker_url="sqlite:///a", result_backend="redis://h").result_backend == "redis://h"
    assert Settings(broker_url="sqlite:///a", result_backend="disabled").result_backend == "disabled"


def test_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://env")
    settings = Settings(broker_url="redis://code")
    assert settings.broker_url == settings.broker_read_url == settings.broker_write_url == "redis://env"


def test_a_broker_from_parts() -> None:
    settings = Settings(broker_transport="redis", broker_host="h", broker_port=1, broker_password="p", broker_vhost="2")
    assert settings.broker_url == "redis://:p@h:1/2"


def test_attribute_item_and_old_name_are_one() -> None:
    settings = Settings()
    settings.task_serializer = "yaml"
    assert (
        settings["task_serializer"] == settings.CELERY_TASK_SERIALIZER == settings["CELERY_TASK_SERIALIZER"] == "yaml"
    )
    settings["CELERY_TASK_SERIALIZER"] = "json"
    assert settings.task_serializer == "json"


def test_unknown_names() -> None:
    settings = Settings()
    with pytest.raises(ImproperlyConfigured, match="did you mean task_serializer"):
        settings.task_serialiser = "json"
    with pytest.raises(ImproperlyConfigured, match="did you mean task_serializer"):
        _ = settings.task_serialiser
    with pytest.raises(KeyError, match="did you mean task_serializer"):
        _ = settings["task_serialiser"]
    assert settings.get("task_serialiser") is None
    with pytest.raises(ImproperlyConfigured, match="broker_url"):
        Settings(brokerurl="x")


def test_sources_are_read_when_they_are_needed() -> None:
    reads: list[str] = []

    class Source:
        @property
        def task_serializer(self) -> str:
            reads.append("read")
            return "yaml"

    settings = Settings()
    settings.load_later(Source())
    assert not reads
    assert settings.task_serializer == "yaml"
    assert len(reads) == 1


def test_what_code_sets_wins_over_what_is_loaded() -> None:
    settings = Settings()
    settings.task_serializer = "yaml"
    settings.load_later({"task_serializer": "json", "task_acks_late": False})
    assert settings.task_serializer == "yaml"
    assert settings.task_acks_late is False


def test_a_later_source_wins_over_an_earlier_one() -> None:
    settings = Settings()
    settings.load_later({"task_serializer": "yaml"})
    assert settings.task_serializer == "yaml"
    settings.load_later({"task_serializer": "msgpack"})
    assert settings.task_serializer == "msgpack"


def test_a_source_that_fails_fails_again() -> None:
    settings = Settings()
    settings.load_later({"task_serialiser": "json"})
    for _ in range(2):
        with pytest.raises(ImproperlyConfigured):
            settings.load()


def test_defaults_of_celery_in_one_line() -> None:
    ours, theirs = Settings(), Settings(defaults="celery")
    assert (ours.task_acks_late, theirs.task_acks_late) == (True, False)
    assert (ours.worker_prefetch_multiplier, theirs.worker_prefetch_multiplier) == (None, 4)
    assert Settings(defaults="celery", task_acks_late=True).task_acks_late is True
    with pytest.raises(ImproperlyConfigured, match="defaults"):
        Settings(defaults="rq")


def test_add_defaults_declares_names() -> None:
    settings = Settings()
    settings.add_defaults({"my_own": 1, "task_serializer": "yaml"})
    assert (settings.my_own, settings.task_serializer) == (1, "yaml")
    settings.my_own = 2
    assert settings["my_own"] == 2
    settings.add_defaults(lambda: {"another": 3})
    assert settings.another == 3


def test_a_default_changed_in_place_lasts_and_stays_here() -> None:
    settings = Settings()
    settings.beat_schedule["every"] = 1
    settings.task_acks_late = False
    assert settings.beat_schedule == {"every": 1}
    assert Settings().beat_schedule == {}


def test_the_version_grows_with_every_change() -> None:
    settings = Settings()
    before = settings.version
    settings.update(task_acks_late=False)
    assert settings.version > before


def test_settings_that_follow_from_others() -> None:
    settings = Settings(task_default_queue="mine", task_acks_on_failure_or_timeout=False)
    assert (settings.task_default_exchange, settings.task_default_routing_key) == ("mine", "mine")
    assert settings.task_acks_on_failure is settings.task_acks_on_timeout is False


def test_tls_options_are_transport_options() -> None:
    settings = Settings(broker_use_ssl={"ca_certs": "/ca", "ssl_certfile": "/cert"}, redis_backend_use_ssl=True)
    settings.broker_transport_options = {"global_keyprefix": "x"}
    assert settings.broker_transport_options == {
        "ssl": True,
        "ssl_ca_certs": "/ca",
        "ssl_certfile": "/cert",
        "global_keyprefix": "x",
    }
    assert settings.result_backend_transport_options == {"ssl": True}
    assert Settings().broker_transport_options == {}


def test_a_time_zone_object_becomes_its_name() -> None:
    assert Settings(timezone=ZoneInfo("Europe/Oslo")).timezone == "Europe/Oslo"


def test_passwords_are_not_shown() -> None:
    settings = Settings(
        broker_url="redis://user:secret@h/0", redis_password="secret", broker_transport_options={"password": "secret"}
    )
    assert "secret" not in settings.humanize()
    assert "redis://user:***@h/0" in settings.humanize()
    assert "secret" in settings.humanize(censored=False)
    assert hide_password("amqp://h//") == "amqp://h//"


def test_as_a_mapping() -> None:
    settings = Settings(task_serializer="yaml")
    assert "task_serializer" in settings
    assert "nonsense" not in settings
    assert len(settings) == len(list(settings)) > 200
    assert settings.is_set("task_serializer")
    assert not settings.is_set("task_acks_late")
    del settings["task_serializer"]
    assert settings.task_serializer == "json"
