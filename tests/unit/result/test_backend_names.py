"""`app.backend`, as programs written for Celery use it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from umbel import Umbel
from umbel.exceptions import TaskRevokedError
from umbel.result import GroupResult


@pytest.fixture
def app() -> Iterator[Umbel]:
    with Umbel("proj", broker=f"memory://{uuid.uuid4()}") as app:
        yield app


def test_records_by_celerys_names(app: Umbel) -> None:
    backend = app.backend
    assert backend.get_task_meta("x") == {"status": "PENDING", "result": None}
    backend.mark_as_started("x", pid=1)
    assert (backend.get_state("x"), backend.get_result("x")) == ("STARTED", {"pid": 1})
    backend.mark_as_retry("x", KeyError("again"), "text")
    assert (backend.get_state("x"), backend.get_traceback("x")) == ("RETRY", "text")
    backend.mark_as_failure("x", KeyError("bad"), store_result=False)
    backend.mark_as_failure("y", KeyError("bad"))
    backend.mark_as_revoked("z", "terminated")
    assert isinstance(backend.get_result("z"), TaskRevokedError)
    assert backend.get_state("x") == "RETRY"
    backend.mark_as_done("x", 5)
    assert (backend.get_result("x"), backend.get_children("x"), backend.task_result_exists("x")) == (5, None, True)
    assert backend.store_result("own", 7, "MINE") == 7
    assert {task_id: meta["status"] for task_id, meta in backend.get_many(["x", "y"], timeout=5)} == {
        "x": "SUCCESS",
        "y": "FAILURE",
    }
    backend.cleanup()


def test_groups_by_celerys_names(app: Umbel) -> None:
    group = GroupResult[int]("g", [app.AsyncResult("a")])
    app.backend.save_group("g", group.as_tuple())
    assert app.backend.restore_group("g") == group
    app.backend.delete_group("g")
    assert app.backend.restore_group("g") is None
    result = app.AsyncResult("a")
    assert app.backend.add_pending_result(result) is result
