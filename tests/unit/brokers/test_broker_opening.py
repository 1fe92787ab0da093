"""Which URLs name a broker in Python, and which class that is."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from servers.directory_broker import DirectoryBroker

from umbel import Umbel
from umbel.brokers import opening
from umbel.brokers.opening import broker_opener, broker_settings, is_native, open_broker
from umbel.exceptions import ImproperlyConfigured
from umbel.routing import Queue, queues_from_conf


@pytest.mark.parametrize(
    "url", ["sqlite:///q.sqlite3", "REDIS://h", "sentinel://h;sentinel://i", "", "nonsense", "odd://h"]
)
def test_the_core_has_it_or_nobody(url: str) -> None:
    assert is_native(url)
    assert broker_opener(url, dict) is None


@pytest.mark.parametrize("scheme", ["directory:DirectoryBroker", "directory.DirectoryBroker"])
def test_a_class_is_named_by_its_path(scheme: str, tmp_path: Path) -> None:
    url = f"{scheme}://{tmp_path}"
    assert not is_native([url])
    opened = broker_opener([url, url], lambda: {"broker_transport_options": {"a": 1}})
    assert opened is not None
    broker = opened()
    assert isinstance(broker, DirectoryBroker)
    assert broker.url == f"{url};{url}"
    assert broker.options == {"a": 1}


def test_packages_announce_schemes(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [metadata.EntryPoint("folder", "directory:DirectoryBroker", opening.ENTRY_POINTS)]
    monkeypatch.setattr(metadata, "entry_points", lambda group: points if group == "umbel.brokers" else [])
    opening._announced.cache_clear()
    opened = broker_opener("FOLDER:///x", dict)
    assert opened is not None
    assert isinstance(opened(), DirectoryBroker)
    points.append(metadata.EntryPoint("folder", "other:Broker", opening.ENTRY_POINTS))
    opening._announced.cache_clear()
    with pytest.raises(ImproperlyConfigured, match="directory:DirectoryBroker, other:Broker"):
        broker_opener("folder:///x", dict)
    opening._announced.cache_clear()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("nowhere.at:all", "nowhere.at:all"),
        ("directory:Nothing", "directory:Nothing"),
        ("directory:MIDDLE", "no class derived from umbel.brokers.Broker"),
    ],
)
def test_what_is_no_broker_is_said(path: str, text: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=text):
        open_broker(path, f"{path}://h", {})


def test_an_app_uses_it(tmp_path: Path) -> None:
    app = Umbel("bridged", broker=f"directory:DirectoryBroker://{tmp_path}", set_as_current=False)
    result = app.send_task("tests.add", (1, 2), queue="q")
    (waiting,) = app.client.peek("q")
    assert waiting["headers"] is not None
    assert waiting["headers"]["id"] == result.id
    app.close()


def test_brokers_are_told_the_queues() -> None:
    queues = [
        Queue("a", max_priority=5, message_ttl=1.5, queue_arguments={"x-queue-type": "quorum"}),
        Queue("b", "x", "k"),
    ]
    app = Umbel("told", set_as_current=False, changes={"task_queues": queues, "broker_heartbeat": 7})
    told = broker_settings(app.conf, queues_from_conf(app.conf))
    assert told["broker_heartbeat"] == 7
    arguments = {"x-queue-type": "quorum", "x-message-ttl": 1500, "x-max-priority": 5}
    assert told["task_queues"][0]["arguments"] == arguments
    b: dict[str, Any] = told["task_queues"][1]
    assert (b["exchange"], b["kind"], b["routing_key"]) == ("x", "direct", "k")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("proj.mod:Class://user:pw@h/v", "proj.mod:Class://user:***@h/v"),
        ("amqp+pika://u:pw@h;amqp+pika://u:pw2@i", "amqp+pika://u:***@h;amqp+pika://u:***@i"),
        ("x:Y:///folder?token=1", "x:Y:///folder?token=***"),
    ],
)
def test_passwords_are_not_shown(url: str, shown: str) -> None:
    assert DirectoryBroker(url, {}).display_url() == shown


def test_plain_apps_do_not_import_what_looks_for_packages() -> None:
    import subprocess

    program = "import sys, umbel; print('umbel.brokers' in sys.modules, 'importlib.metadata' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.split()[0] == "False"
