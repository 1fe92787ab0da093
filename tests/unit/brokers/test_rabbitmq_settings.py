"""What the core is told of RabbitMQ."""

from __future__ import annotations

from typing import Any

from umbel import Umbel
from umbel.brokers.rabbitmq import transport_options
from umbel.routing import Exchange, Queue, queues_from_conf


def _told(url: str = "amqp://", **settings: Any) -> dict[str, Any]:
    app = Umbel("told", set_as_current=False, changes={"broker_url": url, **settings})
    return transport_options(app.conf, queues_from_conf(app.conf))


def test_other_brokers_are_told_nothing_new() -> None:
    assert _told("redis://h", broker_transport_options={"global_keyprefix": "p"}) == {"global_keyprefix": "p"}
    assert _told("sqlite:///x.sqlite3", task_queue_max_priority=5) == {}


def test_settings_are_options_and_options_win() -> None:
    told = _told(["pyamqp://a", "amqp://b"], broker_heartbeat=30, broker_transport_options={"queue_type": "quorum"})
    assert (told["heartbeat"], told["queue_type"], told["delay_queue_type"]) == (30, "quorum", "quorum")
    assert "queue_max_priority" not in told


def test_only_one_of_two_urls_may_be_rabbitmq() -> None:
    told = _told("redis://h", broker_read_url="amqps://h")
    assert told["heartbeat"] == 120


def test_queues_are_declared_as_they_are_defined() -> None:
    queues = [
        Queue("a", Exchange("tasks", "topic"), "a.#", max_priority=5, message_ttl=1.5),
        Queue("b", queue_arguments={"x-queue-type": "quorum"}),
    ]
    assert _told(task_queues=queues)["queues"] == {
        "a": {
            "exchange": "tasks",
            "exchange_type": "topic",
            "routing_key": "a.#",
            "arguments": {"x-message-ttl": 1500, "x-max-priority": 5},
        },
        "b": {
            "exchange": "celery",
            "exchange_type": "direct",
            "routing_key": "celery",
            "arguments": {"x-queue-type": "quorum"},
        },
    }


def test_the_default_queue_has_the_type_of_the_settings() -> None:
    assert _told()["queues"]["celery"]["arguments"] == {}
    assert _told(task_default_queue_type="quorum")["queues"]["celery"]["arguments"] == {"x-queue-type": "quorum"}
