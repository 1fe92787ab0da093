"""Looking at queues, running what waits in them, and moving time."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from umbel import Umbel
from umbel.exceptions import TaskRevokedError
from umbel.testing import assert_enqueued, assert_not_enqueued, drain, enqueued, moved_clock, start_worker


@pytest.fixture(params=["memory", "sqlite"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Umbel:
    url = f"memory://{tmp_path}" if request.param == "memory" else f"sqlite:///{tmp_path}/db"
    return Umbel(
        "shop", broker_url=url, result_backend=url, set_as_current=False, task_routes={"shop.mail": {"queue": "mail"}},
        task_queues={"celery": {}, "mail": {}},
    )  # fmt: skip


@pytest.fixture
def add(app: Umbel) -> Any:
    @app.task(name="shop.add")
    def add(x: Any, y: Any = 0) -> Any:
        return x + y

    return add


@pytest.fixture
def mail(app: Umbel) -> Any:
    @app.task(name="shop.mail")
    def mail(to: str) -> str:
        return to

    return mail


def test_what_waits_can_be_looked_at(app: Umbel, add: Any, mail: Any) -> None:
    first = add.delay((1, 2), y=3)
    later = add.apply_async((1,), countdown=3600, compression="gzip")
    mail.delay("a@b")
    found = enqueued(app)
    assert [(each.task, each.args, each.kwargs, each.queue) for each in found] == [
        ("shop.add", [[1, 2]], {"y": 3}, "celery"),
        ("shop.add", [1], {}, "celery"),
        ("shop.mail", ["a@b"], {}, "mail"),
    ]
    assert [found[0].id, found[1].id] == [first.id, later.id]
    assert found[0].eta is None
    assert found[1].eta == pytest.approx(datetime.now(timezone.utc).timestamp() + 3600, abs=60)
    assert [each.task for each in enqueued(app, "mail")] == ["shop.mail"]


def test_assertions_about_what_waits(app: Umbel, add: Any, mail: Any) -> None:
    add.delay((1, 2), y=3)
    add.delay(5)
    assert [each.args for each in assert_enqueued(add)] == [[[1, 2]], [5]]
    assert_enqueued(add, args=((1, 2),), kwargs={"y": 3})
    assert_enqueued("shop.add", count=2, app=app)
    assert_enqueued(add, args=(5,), queue="celery", count=1)
    assert_not_enqueued(add, args=(6,))
    assert_not_enqueued(mail)
    with pytest.raises(
        AssertionError, match=r"shop\.mail\('x'\) is not enqueued, but: shop\.add\(\[1, 2\], y=3\) in celery"
    ):
        assert_enqueued(mail, args=("x",))
    with pytest.raises(AssertionError, match=r"shop\.add\(\.\.\.\) is not enqueued 3 times"):
        assert_enqueued(add, count=3)
    with pytest.raises(AssertionError, match=r"shop\.add\(5\) is enqueued"):
        assert_not_enqueued(add, args=(5,))
    with pytest.raises(TypeError, match="app="):
        assert_enqueued("shop.add")


def test_draining_runs_what_waits_and_what_that_sends(app: Umbel, mail: Any) -> None:
    ran: list[str] = []

    @app.task(name="shop.order", bind=True, max_retries=1)
    def order(self: Any, number: int) -> None:
        ran.append(f"order {number}, try {self.request.retries}")
        if number == 0:
            mail.delay("boss")
        if number == 1 and not self.request.retries:
            raise self.retry(countdown=0)
        if number == 2:
            raise ValueError("no")

    for number in range(3):
        order.delay(number)
    later = order.apply_async((3,), countdown=3600)
    drained = drain(app)
    assert drained == (3, 1, 1, 0, 0, 0)
    assert ran == ["order 0, try 0", "order 1, try 0", "order 2, try 0", "order 1, try 1"]
    assert_enqueued(order, args=(3,), count=1)
    assert later.state == "PENDING"
    assert drain(app) == (0, 0, 0, 0, 0, 0)


def test_draining_what_is_scheduled_moves_time(app: Umbel, add: Any) -> None:
    seen: list[int] = []

    @app.task(name="shop.step")
    def step(number: int) -> None:
        seen.append(number)
        if number == 2:
            step.apply_async((3,), countdown=600)

    step.apply_async((2,), countdown=7200)
    step.apply_async((1,), countdown=60)
    before = app.now()
    assert drain(app, with_scheduled=True).succeeded == 3
    assert seen == [1, 2, 3]
    assert app.now() - before < timedelta(minutes=1), "time is back"


def test_draining_with_a_worker_that_runs(app: Umbel, add: Any) -> None:
    with start_worker(app):
        add.delay(1)
        assert drain(app).succeeded <= 1
        assert enqueued(app) == []


def test_draining_gives_up_in_time(app: Umbel) -> None:
    @app.task(name="shop.again")
    def again() -> None:
        again.delay()

    again.delay()
    with pytest.raises(TimeoutError, match="tasks still run or wait"):
        drain(app, timeout=0.2)


def test_time_is_moved_for_etas_and_expiry(app: Umbel, add: Any) -> None:
    with moved_clock() as clock, start_worker(app):
        due = add.apply_async((1,), countdown=3600)
        late = add.apply_async((2,), countdown=7200, expires=5400)
        clock.travel(timedelta(hours=1))
        assert due.get(timeout=20) == 1
        assert late.state == "PENDING"
        clock.travel_to(datetime.fromtimestamp(clock.now() + 3600, timezone.utc))
        with pytest.raises(TaskRevokedError, match="expired"):
            late.get(timeout=20)
        clock.reset()
        assert abs(clock.now() - datetime.now(timezone.utc).timestamp()) < 5
