"""Calls: what is checked, inherited and announced. The bytes are in test_wire_messages.py."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from umbel import Exchange, Queue, Task, Umbel, _current, signals
from umbel._native import ConnectionLostError
from umbel.app.moments import Moments
from umbel.exceptions import EncodeError, ImproperlyConfigured, OperationalError, QueueNotFound
from umbel.task import Context


@pytest.fixture
def app() -> Iterator[Umbel]:
    with Umbel("proj", broker=f"memory://{uuid.uuid4()}") as app:
        yield app


@pytest.fixture
def add(app: Umbel) -> Task[..., Any]:
    return app.task(name="add")(lambda x, y: x + y)


def headers(task: Task[..., Any], args: Any = (1, 2), **options: Any) -> dict[str, Any]:
    return dict(task.app.sender.prepare(task.name, args, {}, options, task).message["headers"])


def message(task: Task[..., Any], args: Any = (1, 2), **options: Any) -> dict[str, Any]:
    return dict(task.app.sender.prepare(task.name, args, {}, options, task).message)


# --- checks


def test_arguments_are_checked_when_sent(app: Umbel, add: Task[..., Any]) -> None:
    with pytest.raises(TypeError):
        add.delay(1)
    with pytest.raises(TypeError):
        add.delay(1, 2, z=3)
    loose = app.task(name="loose", typing=False)(lambda x: x)
    loose.delay()
    assert app.client.queue_length("celery") == 1


@pytest.mark.parametrize(
    ("args", "options", "error", "text"),
    [
        ("ab", {}, TypeError, "args of task add"),
        ((1, 2), {"countdown": "soon"}, TypeError, "countdown"),
        ((1, 2), {"countdown": 1e300}, ValueError, "countdown"),
        ((1, 2), {"eta": 5}, TypeError, "eta"),
        ((1, 2), {"eta": "tomorrow"}, ValueError, "tomorrow"),
        ((1, 2), {"expires": "never"}, ValueError, "never"),
        ((1, 2), {"time_limit": 1, "soft_time_limit": 2}, ValueError, "soft_time_limit"),
        ((1, 2), {"compression": "rar"}, ImproperlyConfigured, "rar"),
        ((1, object()), {}, EncodeError, "task add.*application/json"),
        ((1, 2), {"delivery_mode": 7}, ImproperlyConfigured, "delivery_mode"),
    ],
)
def test_wrong_calls(add: Task[..., Any], args: Any, options: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        message(add, args, **options)


def test_missing_queue(app: Umbel, add: Task[..., Any]) -> None:
    app.conf.task_create_missing_queues = False
    with pytest.raises(QueueNotFound):
        add.apply_async((1, 2), queue="nowhere")


def test_protocol_one_is_not_written(app: Umbel, add: Task[..., Any]) -> None:
    app.conf.task_protocol = 1
    with pytest.raises(ImproperlyConfigured, match="task_protocol"):
        add.delay(1, 2)


# --- options of the task


def test_task_options_become_message_options(app: Umbel) -> None:
    task = app.task(
        name="opted", queue="mine", priority=5, expires=60, serializer="msgpack", time_limit=9, soft_time_limit=8
    )(lambda: None)
    found = message(task, ())
    assert found["routing_key"] == "mine"
    assert found["content_type"] == "application/x-msgpack"
    assert found["properties"]["priority"] == 5
    assert found["properties"]["expiration"] == "60000"
    assert found["headers"]["timelimit"] == [9, 8]
    cleared = message(task, (), expires=None, time_limit=None, soft_time_limit=None, queue="other")
    assert cleared["headers"]["expires"] is None
    assert cleared["headers"]["timelimit"] == [None, None]
    assert cleared["routing_key"] == "other"


def test_a_task_known_by_name_keeps_its_options(app: Umbel) -> None:
    app.task(name="opted", queue="mine", ignore_result=True)(lambda: None)
    result = app.send_task("opted")
    assert app.client.queue_length("mine") == 1
    assert result.ignored
    assert result.get() is None


def test_route_options(app: Umbel, add: Task[..., Any]) -> None:
    app.conf.task_routes = {"add": {"queue": "q", "priority": 7, "serializer": "yaml", "compression": "zlib"}}
    found = message(add)
    assert (found["routing_key"], found["properties"]["priority"]) == ("q", 7)
    assert found["headers"]["compression"] == "application/x-gzip"
    # A task always has a serializer, and what a task has wins over its route, as in Celery.
    assert found["content_type"] == "application/json"
    app.conf.task_routes = {"unknown": {"serializer": "yaml"}}
    by_name = app.sender.prepare("unknown", (), {}, {}).message
    assert by_name["content_type"] == "application/x-yaml"
    assert message(add, priority=1)["properties"]["priority"] == 1


def test_delivery_modes(app: Umbel, add: Task[..., Any]) -> None:
    app.conf.task_queues = [Queue("celery", Exchange("celery", delivery_mode="transient")), Queue("other")]
    assert message(add)["properties"]["delivery_mode"] == 1
    assert message(add, countdown=1)["properties"]["delivery_mode"] == 1
    # What a queue says is about that queue.
    assert message(add, queue=Queue("third", Exchange("third")))["properties"]["delivery_mode"] == 2
    assert message(add, delivery_mode="persistent")["properties"]["delivery_mode"] == 2
    app.conf.update(task_queues=None, task_default_delivery_mode="transient")
    assert message(add)["properties"]["delivery_mode"] == 1


def test_shadow_name(app: Umbel) -> None:
    class Shadowed(app.Task):  # type: ignore[name-defined, misc]
        def shadow_name(self, args: Any, kwargs: Any, options: Any) -> str:
            return f"shown.{args[0]}"

    task = app.task(name="real", base=Shadowed)(lambda x: x)
    assert headers(task, ("a",))["shadow"] == "shown.a"
    assert headers(task, ("a",), shadow="given")["shadow"] == "given"


def test_stamps(add: Task[..., Any]) -> None:
    found = headers(add, stamped_headers=["owner"], owner="me")
    assert (found["stamped_headers"], found["stamps"]) == (["owner"], {"owner": "me"})
    assert "owner" not in message(add, stamped_headers=["owner"], owner="me")["properties"]


# --- inside a task


def test_children_inherit(app: Umbel, add: Task[..., Any]) -> None:
    parent = Context({"id": "p", "root_id": "r", "called_directly": False, "task_object": add}, priority=3)
    parent.delivery_info = {"priority": 4}
    token = _current.push_request(parent)
    try:
        found = message(add)
        assert (found["headers"]["root_id"], found["headers"]["parent_id"]) == ("r", "p")
        assert found["properties"]["priority"] == 0
        optioned = message(add, countdown=1)
        assert (optioned["headers"]["root_id"], optioned["headers"]["parent_id"]) == ("r", "p")
        app.conf.task_inherit_parent_priority = True
        assert message(add)["properties"]["priority"] == message(add, countdown=1)["properties"]["priority"] == 4
        assert message(add, priority=9)["properties"]["priority"] == 9
        result = add.delay(1, 2)
        add.apply_async((1, 2), add_to_parent=False)
        assert parent.children == [result]
    finally:
        _current.pop_request(token)


# --- signals


def test_publish_signals_may_change_the_message(app: Umbel, add: Task[..., Any]) -> None:
    seen: list[Any] = []

    def before(sender: Any, headers: dict[str, Any], body: Any, **_: Any) -> None:
        headers["x-added"] = 1
        seen.append(("before", sender, body[0]))

    def after(sender: Any, headers: dict[str, Any], routing_key: str, **_: Any) -> None:
        seen.append(("after", sender, headers["x-added"], routing_key))

    signals.before_task_publish.connect(before, sender="add")
    signals.after_task_publish.connect(after)
    try:
        add.delay(1, 2)
    finally:
        signals.before_task_publish.disconnect(before, sender="add")
        signals.after_task_publish.disconnect(after)
    assert seen == [("before", "add", (1, 2)), ("after", "add", 1, "celery")]


# --- publishing


class Client:
    """Counts what is asked of the connection."""

    def __init__(self) -> None:
        #: Of each call: how long it may take, and how long it bears errors.
        self.bounds: list[tuple[float, float | None]] = []
        self.fails = False
        self.bound: list[tuple[str, ...]] = []
        self.batches: list[list[Any]] = []

    def publish(self, messages: Any, timeout: float, patience: float | None) -> None:
        self.batches.append(list(messages))
        self.bounds.append((timeout, patience))

    def bind(self, queue: str, exchange: str, key: str, kind: str, timeout: float, patience: float | None) -> None:
        if self.fails:
            raise ConnectionLostError("gone")
        self.bound.append((queue, exchange, key, kind))
        self.bounds.append((timeout, patience))


class ClientApp(Umbel):
    recorded: Client

    @property
    def client(self) -> Any:
        return self.recorded


def with_client(**settings: Any) -> tuple[ClientApp, Task[..., Any]]:
    app = ClientApp("proj", broker="memory://", set_as_current=False, **settings)
    app.recorded = Client()
    return app, app.task(name="add")(lambda x, y: x + y)


def test_how_long_a_publish_may_take() -> None:
    app, add = with_client(broker_connection_timeout=2)
    add.delay(1, 2)
    add.apply_async((1, 2), retry=False)
    add.apply_async((1, 2), retry_policy={"max_retries": 1, "interval_start": 0.5})
    add.apply_async((1, 2), retry_policy={"max_retries": None})
    app.conf.task_publish_retry = False
    add.delay(1, 2)
    timeouts, patiences = zip(*app.recorded.bounds, strict=True)
    assert timeouts == pytest.approx((2 * 4 + 0.0 + 0.2 + 0.4, 2, 2 * 2 + 0.5, 1e9, 2))
    assert patiences == (pytest.approx(0.6), 0, 0.5, None, 0)


def test_named_exchanges_are_bound_once() -> None:
    feeds = Queue("feeds", Exchange("media", "topic"), "media.#")
    app, add = with_client(task_queues=[feeds, "plain"], task_default_queue="plain")
    for _ in range(2):
        add.apply_async((1, 2), queue="feeds", routing_key="media.x")
        add.apply_async((1, 2), exchange="media", routing_key="media.y")
        add.delay(1, 2)
    assert app.recorded.bound == [("feeds", "media", "media.#", "topic")]


def test_a_binding_that_fails_is_the_error_of_the_call() -> None:
    app, add = with_client(task_queues=[Queue("feeds", Exchange("media", "topic"), "media.#")])
    app.recorded.fails = True
    with pytest.raises(OperationalError, match="gone"):
        add.apply_async((1, 2), exchange="media", routing_key="media.x", retry=False)


def test_adelay(app: Umbel, add: Task[..., Any]) -> None:
    async def send() -> Any:
        return await add.adelay(1, 2), await add.aapply_async((1, 2), queue="other")

    asyncio.run(send())
    assert (app.client.queue_length("celery"), app.client.queue_length("other")) == (1, 1)


# --- many calls at once


def test_many_calls_go_in_few_steps_and_in_order() -> None:
    app, add = with_client()
    results = add.apply_async_many(((n, 1) for n in range(2500)), queue="bulk", ignore_result=True)
    assert [len(batch) for batch in app.recorded.batches] == [1000, 1000, 500]
    sent = [message for batch in app.recorded.batches for message in batch]
    assert [result.id for result in results] == [message["headers"]["id"] for message in sent]
    assert len({result.id for result in results}) == 2500
    assert all(result.ignored for result in results)
    assert {message["routing_key"] for message in sent} == {"bulk"}
    assert [json.loads(message["body"])[0] for message in sent] == [[n, 1] for n in range(2500)]


def test_many_calls_are_what_single_calls_are(app: Umbel, add: Task[..., Any]) -> None:
    sent = []
    with_signals = signals.before_task_publish.connect(lambda body, **_: sent.append(body[:2]), weak=False)
    try:
        results = add.apply_async_many([(1,), [2]], {"y": 3})
    finally:
        signals.before_task_publish.disconnect(with_signals)
    assert sent == [((1,), {"y": 3}), ([2], {"y": 3})]
    assert [type(result).__name__ for result in results] == ["AsyncResult", "AsyncResult"]
    assert add.apply_async_many([]) == []


@pytest.mark.parametrize(
    ("last", "options", "error"),
    [
        ((1,), {}, TypeError),
        ((1, 2, 3), {}, TypeError),
        ("ab", {}, TypeError),
        ((1, object()), {}, EncodeError),
        ((1, 2), {"task_id": "one-for-all"}, TypeError),
    ],
)
def test_one_wrong_call_of_many_sends_nothing(
    app: Umbel, add: Task[..., Any], last: Any, options: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        add.apply_async_many([(1, 2)] * 1500 + [last], **options)
    assert app.client.queue_length("celery") == 0


def test_many_calls_run_in_place_when_eager(app: Umbel, add: Task[..., Any]) -> None:
    app.conf.task_always_eager = True
    assert [result.get() for result in add.apply_async_many([(1, 2), (3, 4)])] == [3, 7]


# --- moments


def test_countdown_over_a_change_of_summer_time() -> None:
    class Clock(Umbel):
        def now(self) -> datetime:
            return datetime(2026, 3, 29, 0, 59, 50, tzinfo=timezone.utc).astimezone(self.timezone)

    app = Clock("proj", timezone="Europe/Oslo", set_as_current=False)
    text, due = Moments(app).eta(20, None)
    assert text == "2026-03-29T03:00:10+02:00"
    assert due == datetime(2026, 3, 29, 1, 0, 10, tzinfo=timezone.utc).timestamp()


def test_expiry_in_the_past_is_zero(app: Umbel, caplog: pytest.LogCaptureFixture) -> None:
    text, left = Moments(app).expires(app.now() - timedelta(minutes=1), "the-id")
    assert left == 0
    assert datetime.fromisoformat(text) < app.now()
    assert "the-id" in caplog.text


def test_naive_texts_are_in_the_applications_zone() -> None:
    app = Umbel("proj", timezone="Europe/Oslo", set_as_current=False)
    _, due = Moments(app).eta(None, "2030-01-02T03:04:05")
    assert due == datetime(2030, 1, 2, 2, 4, 5, tzinfo=timezone.utc).timestamp()
    _, aware = Moments(app).eta(None, "2030-01-02T03:04:05Z")
    assert aware == datetime(2030, 1, 2, 3, 4, 5, tzinfo=timezone.utc).timestamp()
