"""Tasks whose calls are run many at a time, on every broker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from apps.basic import note, notes
from servers.stack import PATIENCE

from umbel import Umbel, states
from umbel.canvas import chain, chord
from umbel.contrib.batches import Batches, SimpleRequest
from umbel.pools.app_finder import AppNotFoundError
from umbel.testing import start_worker


@pytest.fixture
def app(empty_url: str) -> Umbel:
    """An app on an empty broker."""
    return Umbel("batches", broker_url=empty_url, result_backend=empty_url, set_as_current=False)


def doubling(app: Umbel, path: Path, **options: Any) -> Any:
    """A task that notes the sizes of its batches and doubles the argument of each call."""

    @app.task(name="batches.double", base=Batches, **{"flush_every": 10, "flush_interval": 0.1, **options})
    def double(requests: list[SimpleRequest]) -> list[Any]:
        note(str(path), str(len(requests)))
        return [2 * request.args[0] for request in requests]

    return double


def test_as_many_as_are_wanted_run_at_once_and_each_has_its_result(app: Umbel, tmp_path: Path) -> None:
    double = doubling(app, tmp_path / "notes")
    results = double.apply_async_many([(number,) for number in range(25)])
    with start_worker(app, concurrency=1):
        assert [result.get(timeout=PATIENCE) for result in results] == [2 * number for number in range(25)]
    sizes = [int(size) for size in notes(tmp_path / "notes")]
    assert (sum(sizes), max(sizes)) == (25, 10)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_few_do_not_wait_for_ever(app: Umbel, tmp_path: Path, concurrency: int) -> None:
    double = doubling(app, tmp_path / "notes", flush_every=1000)
    with start_worker(app, concurrency=concurrency):
        assert [result.get(timeout=PATIENCE) for result in (double.delay(1), double.delay(2))] == [2, 4]


def test_other_tasks_go_on_meanwhile(app: Umbel, tmp_path: Path) -> None:
    double = doubling(app, tmp_path / "notes", flush_every=3, flush_interval=3600)
    plain = app.task(name="batches.plain")(lambda: "plain")
    with start_worker(app, concurrency=1):
        first = [double.delay(1), double.delay(2)]
        assert plain.delay().get(timeout=PATIENCE) == "plain"
        assert not first[0].ready()
        third = double.delay(3)
        assert [result.get(timeout=PATIENCE) for result in [*first, third]] == [2, 4, 6]
    assert notes(tmp_path / "notes") == ["3"]


def test_each_call_ends_in_its_own_way(app: Umbel) -> None:
    @app.task(name="batches.mixed", base=Batches, flush_every=4, flush_interval=0.1, max_retries=1)
    def mixed(requests: list[SimpleRequest]) -> list[Any]:
        return [ValueError("odd") if request.kwargs["number"] % 2 else "even" for request in requests]

    with start_worker(app, concurrency=1):
        results = [mixed.delay(number=number) for number in range(4)]
        assert results[0].get(timeout=PATIENCE) == results[2].get(timeout=PATIENCE) == "even"
        for result in (results[1], results[3]):
            with pytest.raises(ValueError, match="odd"):
                result.get(timeout=PATIENCE)
    assert [result.state for result in results] == [states.SUCCESS, states.FAILURE] * 2


@pytest.mark.parametrize("way", ["autoretry", "by hand"])
def test_each_call_counts_its_tries(app: Umbel, tmp_path: Path, way: str) -> None:
    options: dict[str, Any] = {"max_retries": 2, "default_retry_delay": 0}
    if way == "autoretry":
        options["autoretry_for"] = (ValueError,)

    @app.task(name="batches.again", base=Batches, bind=True, flush_every=3, flush_interval=0.1, **options)
    def again(self: Any, requests: list[SimpleRequest]) -> list[int]:
        tries = [request.context.retries for request in requests]  # type: ignore[union-attr]
        note(str(tmp_path / "notes"), str(tries))
        if min(tries) < 2:
            if way == "by hand":
                raise self.retry(exc=ValueError("not yet"), countdown=0)
            raise ValueError("not yet")
        return tries

    with start_worker(app, concurrency=1):
        results = [again.delay(number) for number in range(3)]
        assert [result.get(timeout=PATIENCE) for result in results] == [2, 2, 2]


def test_what_is_raised_fails_all(app: Umbel) -> None:
    @app.task(name="batches.fails", base=Batches, flush_every=2, flush_interval=0.1)
    def fails(requests: list[SimpleRequest]) -> None:
        raise OSError("gone")

    with start_worker(app, concurrency=1):
        for result in [fails.delay(), fails.delay()]:
            with pytest.raises(OSError, match="gone"):
                result.get(timeout=PATIENCE)


def test_results_may_be_told_as_with_celery_batches(app: Umbel) -> None:
    @app.task(name="batches.told", base=Batches, flush_every=3, flush_interval=0.1)
    def told(requests: list[SimpleRequest]) -> None:
        first, second, _ = sorted(requests, key=lambda request: request.args[0])
        app.backend.mark_as_done(first.id, "first", request=first)
        app.backend.mark_as_failure(second.id, KeyError("second"), request=second)

    with start_worker(app, concurrency=1):
        results = [told.delay(number) for number in range(3)]
        assert results[0].get(timeout=PATIENCE) == "first"
        with pytest.raises(KeyError):
            results[1].get(timeout=PATIENCE)
        assert results[2].get(timeout=PATIENCE) is None


def test_lists_of_another_length_are_a_mistake(app: Umbel, tmp_path: Path) -> None:
    @app.task(name="batches.short", base=Batches, flush_every=2, flush_interval=0.1)
    def short(requests: list[SimpleRequest]) -> list[int]:
        return [1]

    with start_worker(app, concurrency=1):
        first, second = short.delay(), short.delay()
        with pytest.raises(ValueError, match="A batch of 2 calls returned a list of 1 results"):
            first.get(timeout=PATIENCE)
        assert second.get(timeout=PATIENCE, propagate=False).args == first.get(propagate=False).args


def test_calls_of_a_batch_may_be_parts_of_workflows(app: Umbel, tmp_path: Path) -> None:
    double = doubling(app, tmp_path / "notes")
    total = app.task(name="batches.total")(sum)
    with start_worker(app, concurrency=2):
        assert chord([double.s(1), double.s(2)], total.s(), app=app).apply_async().get(timeout=PATIENCE) == 6
        assert chain(double.s(1), double.s(), app=app).apply_async().get(timeout=PATIENCE) == 4


def test_one_that_is_revoked_does_not_run(app: Umbel, tmp_path: Path) -> None:
    double = doubling(app, tmp_path / "notes", flush_every=3, flush_interval=3600)
    with start_worker(app, concurrency=1) as worker:
        first, second = double.delay(1), double.delay(2)
        while worker.stats()["received"] < 2:
            pass
        second.revoke()
        second.get(timeout=PATIENCE, propagate=False)
        # It counts as one of the three all the same.
        third = double.delay(3)
        assert [result.get(timeout=PATIENCE) for result in (first, third)] == [2, 6]
    assert second.state == states.REVOKED
    assert notes(tmp_path / "notes") == ["2"]


def test_run_in_place_it_is_a_batch_of_one(app: Umbel, tmp_path: Path) -> None:
    double = doubling(app, tmp_path / "notes")
    assert double.apply((4,)).get() == 8
    app.conf.task_always_eager = True
    assert double.delay(5).get() == 10
    assert notes(tmp_path / "notes") == ["1", "1"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flush_every": 0}, "flush_every takes a number from 1 to 10000, not 0"),
        ({"flush_interval": -1}, "flush_interval takes seconds from 0 on, not -1"),
    ],
)
def test_options_that_are_none(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    app = Umbel("wrong", broker_url=f"memory://{tmp_path.name}", set_as_current=False)
    doubling(app, tmp_path / "notes", **options)
    with pytest.raises(AppNotFoundError, match=message), start_worker(app):
        pass
