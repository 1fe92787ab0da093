"""Queues and routes."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from umbel import Exchange, Queue
from umbel.config import Settings
from umbel.exceptions import ImproperlyConfigured, QueueNotFound
from umbel.routing import Destination, Router, own_queue, queues_from_conf, with_own_queues


def route(name: str, options: dict[str, Any] | None = None, args: Any = (), **settings: Any) -> Destination:
    conf = Settings(**settings)
    return Router(conf.task_routes, queues_from_conf(conf), conf.task_default_queue).route(
        name, args, {}, options or {}
    )


def where(name: str, options: dict[str, Any] | None = None, **settings: Any) -> tuple[str, str]:
    destination = route(name, options, **settings)
    return destination.exchange, destination.routing_key


def test_the_default_queue_is_reached_by_its_name() -> None:
    assert where("a") == ("", "celery")
    assert where("a", task_default_queue="mine") == ("", "mine")


def test_a_queue_of_the_call() -> None:
    assert where("a", {"queue": "fast"}) == ("", "fast")
    assert where("a", {"queue": Queue("fast", Exchange("topics", "topic"), "key")}) == ("topics", "key")


def test_an_exchange_of_the_call() -> None:
    assert where("a", {"exchange": "ex", "routing_key": "key"}) == ("ex", "key")
    assert where("a", {"exchange": Exchange("ex"), "routing_key": "key"}) == ("ex", "key")
    # Half a direct destination leads nowhere, so it falls back on the queue, as in Celery.
    assert where("a", {"exchange": "ex"}) == ("", "celery")
    assert where("a", {"routing_key": "key"}) == ("", "celery")


@pytest.mark.parametrize(
    ("name", "queue"),
    [
        ("proj.add", "exact"),
        ("proj.mul", "glob"),
        ("other.x1", "regex"),
        ("other.xx", "celery"),
    ],
)
def test_maps_of_names_globs_and_expressions(name: str, queue: str) -> None:
    routes = {"proj.*": "glob", "proj.add": "exact", re.compile(r"other\.x\d$"): {"queue": "regex"}}
    assert where(name, task_routes=routes) == ("", queue)


def test_lists_of_routes_are_asked_in_turn() -> None:
    routes = [{"a": "first"}, [("a", "second"), ("b.*", "second")]]
    assert where("a", task_routes=routes) == ("", "first")
    assert where("b.x", task_routes=routes) == ("", "second")


def by_argument(name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **_: Any) -> Any:
    return {"queue": f"shard{args[0]}", "priority": 3} if name == "sharded" else None


class OldRouter:
    def route_for_task(self, task: str, args: Any = None, kwargs: Any = None) -> Any:
        return "old" if task == "a" else None


def test_functions_objects_and_dotted_paths() -> None:
    destination = route("sharded", task_routes=by_argument, args=(7,))
    assert (destination.routing_key, destination.options) == ("shard7", {"priority": 3})
    assert where("other", task_routes=by_argument) == ("", "celery")
    assert where("a", task_routes=OldRouter()) == ("", "old")
    assert where("sharded", task_routes=[f"{__name__}.OldRouter"]) == ("", "celery")
    assert where("a", task_routes=[f"{__name__}:OldRouter"]) == ("", "old")
    conf = Settings(task_routes=by_argument)
    assert not Router(conf.task_routes, queues_from_conf(conf), "celery").by_name_only


def test_the_call_wins_over_the_route() -> None:
    assert where("a", {"queue": "call"}, task_routes={"a": "route"}) == ("", "call")


def test_a_route_that_is_none() -> None:
    with pytest.raises(ImproperlyConfigured, match="task_routes"):
        route("a", task_routes=[7])
    with pytest.raises(ImproperlyConfigured, match="queue name"):
        route("a", task_routes={"a": 7})


TOPICS = Queue("feeds", Exchange("media", type="topic", delivery_mode=1), routing_key="media.#")


def test_queues_with_exchanges_of_their_own() -> None:
    destination = route("a", {"queue": "feeds", "routing_key": "media.video"}, task_queues=[TOPICS])
    assert destination == Destination("media", "media.video", 1, {})
    assert where("a", {"queue": "feeds"}, task_queues=[TOPICS]) == ("media", "media.#")


def test_queues_given_as_a_dict() -> None:
    queues = {"feeds": {"exchange": "media", "exchange_type": "topic", "binding_key": "media.#"}, "plain": {}}
    found = queues_from_conf(Settings(task_queues=queues))
    assert (found["feeds"].exchange_name, found["feeds"].exchange_type, found["feeds"].routing_key) == (
        "media",
        "topic",
        "media.#",
    )
    assert list(found.consume_from) == ["feeds", "plain"]


def test_queues_of_kombu() -> None:
    kombu = pytest.importorskip("kombu")
    theirs = kombu.Queue("feeds", kombu.Exchange("media", "topic"), routing_key="media.#")
    assert where("a", {"queue": theirs}) == ("media", "media.#")
    assert where("a", {"queue": "feeds"}, task_queues=[theirs]) == ("media", "media.#")


def test_missing_queues() -> None:
    assert where("a", {"queue": "new"}, task_queues=["old"]) == ("", "new")
    with pytest.raises(QueueNotFound, match=r"'new'.*old"):
        where("a", {"queue": "new"}, task_queues=["old"], task_create_missing_queues=False)


def test_selecting_queues() -> None:
    queues = queues_from_conf(Settings(task_queues=["a", "b", "c"]))
    queues.deselect(["b"])
    assert list(queues.consume_from) == ["a", "c"]
    queues.select(["new", "a"])
    assert list(queues.consume_from) == ["new", "a"]


def test_wrong_queues() -> None:
    with pytest.raises(ImproperlyConfigured, match="task_queues"):
        queues_from_conf(Settings(task_queues=[SimpleNamespace()]))


@pytest.mark.parametrize(
    ("url", "queue"),
    [
        ("redis://h/0", "q.umbel"),
        (["amqp://a", "amqp://b"], "q.umbel"),
        ("sqlite:///file", "q"),
        ("memory://", "q"),
        (None, "q"),
    ],
)
def test_the_queue_beside_one_that_celery_may_consume(url: Any, queue: str) -> None:
    assert own_queue("q", url) == queue
    assert own_queue(queue, url) == queue
    assert with_own_queues(["q", "q"], url) == list(dict.fromkeys(["q", queue]))
