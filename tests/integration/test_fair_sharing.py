"""Queues that are shared fairly, on every broker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from apps.basic import note, notes
from servers.stack import PATIENCE

from umbel import Umbel
from umbel.canvas import group
from umbel.testing import enqueued, start_worker


@pytest.fixture
def app(empty_url: str) -> Umbel:
    """An app on an empty broker."""
    return Umbel(
        "fair", broker_url=empty_url, result_backend=empty_url, set_as_current=False, worker_prefetch_multiplier=1
    )


def define(app: Umbel, path: Path, **options: Any) -> Any:
    @app.task(name="fair.task", **options)
    def task(tenant: str, number: int) -> int:
        note(str(path), f"{tenant}{number}")
        return number

    return task


@pytest.mark.parametrize("key", [["tenant"], lambda tenant, number: tenant, True], ids=["names", "function", "by call"])
def test_one_tenant_does_not_starve_another(app: Umbel, tmp_path: Path, key: Any) -> None:
    task = define(app, tmp_path / "notes", fair_key=key)
    given = (lambda tenant: {"fair_key": tenant}) if key is True else (lambda tenant: {})
    many = task.apply_async_many([("a", number) for number in range(150)], **given("a"))
    few = [task.apply_async(("b", number), **given("b")) for number in range(5)]
    assert len(enqueued(app)) == 155
    with start_worker(app, concurrency=1):
        assert [result.get(timeout=PATIENCE) for result in few] == list(range(5))
        assert [result.get(timeout=PATIENCE) for result in many] == list(range(150))
    order = notes(tmp_path / "notes")
    assert [line for line in order if line[0] == "b"] == [f"b{number}" for number in range(5)]
    assert order.index("b4") < 60, "behind the few of the other that were there already"


def test_workflows_and_retries_stand_in_line(app: Umbel, tmp_path: Path) -> None:
    task = define(app, tmp_path / "notes", fair_key=["tenant"])

    @app.task(name="fair.again", bind=True, fair_key=True, max_retries=1)
    def again(self: Any) -> Any:
        if self.request.retries == 0:
            raise self.retry(countdown=0)
        return self.request.headers["umbel_line"]

    with start_worker(app, concurrency=1):
        members = group((task.s("a", number) for number in range(40)), app=app).apply_async()
        retried = again.apply_async(fair_key="ann")
        assert members.get(timeout=PATIENCE) == list(range(40))
        assert retried.get(timeout=PATIENCE) == "ann"


def test_a_call_cannot_have_a_key_that_its_task_does_not_know(app: Umbel, tmp_path: Path) -> None:
    task = define(app, tmp_path / "notes")
    with pytest.raises(TypeError, match=r"fair\.task needs fair_key=True"):
        task.apply_async(("a", 1), fair_key="a")
