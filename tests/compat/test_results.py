"""Groups of results that one side saves and the other restores, and joins of what either worker ran."""

from __future__ import annotations

import uuid
from typing import Any

import celery
import celery.result
import pytest

import umbel.result
from umbel import Umbel

PATIENCE = 30.0


def sent(producer: Any, worker: str, count: int) -> list[Any]:
    """Results of as many calls."""
    add = producer.tasks["compat.add"]
    return [add.apply_async((number, 1), queue=f"for-{worker}") for number in range(count)]


def test_a_group_that_umbel_saves_is_restored_by_celery(umbel_app: Umbel, celery_app: Any, worker: str) -> None:
    nested = umbel.result.GroupResult(str(uuid.uuid4()), sent(umbel_app, worker, 2))
    parent = umbel_app.AsyncResult("above")
    group = umbel_app.GroupResult(str(uuid.uuid4()), [*sent(umbel_app, worker, 2), nested], parent=parent)
    group.save()
    back = celery.result.GroupResult.restore(group.id, app=celery_app)
    assert back.as_tuple() == group.as_tuple()
    assert back[0].get(timeout=PATIENCE) == 1
    assert back[2].join(timeout=PATIENCE) == [1, 2]
    back.delete()
    assert umbel_app.GroupResult.restore(str(group.id)) is None


@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")
def test_a_group_that_celery_saves_is_restored_by_umbel(umbel_app: Umbel, celery_app: Any, worker: str) -> None:
    results = sent(celery_app, worker, 3)
    group = celery_app.GroupResult(str(uuid.uuid4()), results)
    group.save()
    back = umbel_app.GroupResult.restore(group.id)
    assert back is not None
    assert back.as_tuple() == group.as_tuple()
    assert back.get(timeout=PATIENCE) == [1, 2, 3]
    assert back.completed_count() == 3
    back.delete()
    assert celery_app.GroupResult.restore(group.id) is None


def test_a_group_of_celery_is_joined_by_umbel(umbel_app: Umbel, celery_app: Any, worker: str) -> None:
    add = celery_app.tasks["compat.add"]
    sent_by_celery = celery.group(add.s(number, 1).set(queue=f"for-{worker}") for number in range(20)).apply_async()
    group = umbel.result.result_from_tuple(sent_by_celery.as_tuple(), umbel_app)
    assert sorted(group.iterate(timeout=PATIENCE)) == list(range(1, 21))
    assert group.get(timeout=PATIENCE) == sent_by_celery.get(timeout=PATIENCE) == list(range(1, 21))


def test_tries_are_told_to_umbel_and_do_not_disturb_celery(producer: Any, readers: list[Any], umbel_app: Umbel) -> None:
    result = producer.tasks["compat.retry"].apply_async((2,), queue="for-umbel")
    assert [reader.AsyncResult(result.id).get(timeout=PATIENCE) for reader in readers] == [["umbel", 2]] * 2
    tries = umbel_app.AsyncResult(result.id).attempts
    assert [(one.retries, one.state, one.why) for one in tries] == [
        (0, "RETRY", "OwnError('try 0')"),
        (1, "RETRY", "OwnError('try 1')"),
        (2, "SUCCESS", None),
    ]
    assert all(one.worker and one.worker.startswith("umbel@") and one.started and one.ended for one in tries)
