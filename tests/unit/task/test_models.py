"""Pydantic's models and dataclasses as arguments and results."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field
from typing import Any, Optional

import pytest
from pydantic import BaseModel, ValidationError

from umbel import Umbel
from umbel.exceptions import ImproperlyConfigured
from umbel.testing import start_worker


class Order(BaseModel):
    number: int
    note: str | None = None


class Receipt(BaseModel):
    order: Order
    paid: bool = True


@dataclass
class Point:
    x: float
    y: float = 0.0


@dataclass
class Path:
    points: list[Point]
    named: dict[str, Point] = field(default_factory=dict)
    end: Point | None = None
    pair: tuple[Point, int] | None = None


@pytest.fixture
def app() -> Umbel:
    return Umbel("models", broker_url="memory://models", result_backend="memory://models", set_as_current=False)


def pay(app: Umbel, **options: Any) -> Any:
    @app.task(name="models.pay", pydantic=True, **options)
    def pay(order: Order, times: int = 1, other: Optional[Order] = None) -> Receipt:  # noqa: UP045, Celery knows both
        assert isinstance(order, Order)
        assert other is None or isinstance(other, Order)
        return Receipt(order=order if other is None else other)

    return pay


def test_pydantic_through_a_worker(app: Umbel) -> None:
    task = pay(app)
    expected = {"order": {"number": 7, "note": None}, "paid": True}
    with start_worker(app):
        for call in ((Order(number=7),), ({"number": 7},), (Order(number=1), 2, Order(number=7))):
            assert task.delay(*call).get(timeout=20) == expected
        results = task.apply_async_many([(Order(number=7),), ({"number": 7},)], {"times": 3})
        assert [result.get(timeout=20) for result in results] == [expected] * 2
        with pytest.raises(Exception, match="ValidationError"):
            task.delay({"number": "many"}).get(timeout=20)


def test_pydantic_in_place(app: Umbel) -> None:
    task = pay(app, pydantic_strict=True, pydantic_dump_kwargs={"exclude_none": True})
    assert task.apply((Order(number=7),)).get() == {"order": {"number": 7}, "paid": True}
    assert task(Order(number=7)) == {"order": {"number": 7}, "paid": True}
    with pytest.raises(ValidationError):
        task({"number": "7"})


def test_the_context_of_validation_has_celerys_names(app: Umbel) -> None:
    from pydantic import ValidationInfo, field_validator

    seen: list[Any] = []

    class Watched(BaseModel):
        number: int

        @field_validator("number")
        @classmethod
        def look(cls, value: int, info: ValidationInfo) -> int:
            seen.append(info.context)
            return value

    def watch(one: Watched) -> None: ...

    watch.__annotations__["one"] = Watched
    task = app.task(name="models.watch", pydantic=True, pydantic_context={"own": 1})(watch)
    task.apply(({"number": 1},)).get()
    assert seen == [{"own": 1, "celery_app": app, "celery_task_name": "models.watch"}]


def test_without_the_package(app: Umbel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydantic", None)
    with pytest.raises(ImproperlyConfigured, match=r"pip install 'umbel\[pydantic\]'"):
        pay(app)


def test_dataclasses_through_a_worker(app: Umbel) -> None:
    @app.task(name="models.follow", dataclasses=True)
    def follow(path: Path, by: Optional[Point] = None) -> Path:  # noqa: UP045
        assert isinstance(path, Path)
        assert all(isinstance(point, Point) for point in path.points)
        return Path(
            [Point(point.x + (by.x if by else 0), point.y) for point in path.points], path.named, path.end, path.pair
        )

    path = Path([Point(1, 2), Point(3)], {"a": Point(5)}, Point(9, 9), (Point(4), 4))
    with start_worker(app):
        found = follow.delay(path, Point(10)).get(timeout=20)
        assert found["points"] == [{"x": 11, "y": 2}, {"x": 13, "y": 0.0}]
        assert found["named"] == {"a": {"x": 5, "y": 0.0}}
        assert found["pair"] == [{"x": 4, "y": 0.0}, 4]
        assert follow.delay({"points": []}).get(timeout=20) == {"points": [], "named": {}, "end": None, "pair": None}
        with pytest.raises(TypeError, match="Point has no field z"):
            follow.delay({"points": [{"x": 1, "z": 2}]}).get(timeout=20)


def test_coroutines_and_bound_tasks(app: Umbel) -> None:
    @app.task(name="models.mirror", bind=True, dataclasses=True)
    async def mirror(self: Any, point: Point) -> Point:
        await asyncio.sleep(0)
        assert self.name == "models.mirror"
        return Point(point.y, point.x)

    assert mirror.apply((Point(1, 2),)).get() == {"x": 2, "y": 1}
    with start_worker(app):
        assert mirror.delay(Point(1, 2)).get(timeout=20) == {"x": 2, "y": 1}


def test_arguments_are_still_checked_where_the_task_is_sent(app: Umbel) -> None:
    with pytest.raises(TypeError, match="missing a required argument: 'order'"):
        pay(app).delay()
