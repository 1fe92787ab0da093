"""Programs that must type-check, with the types they must have."""

from __future__ import annotations

from typing import Any

from typing_extensions import assert_type

from umbel import AsyncResult, Celery, EagerResult, Queue, Task, Umbel, current_app, shared_task

app = Umbel("proj", broker="memory://", task_acks_late=True)


@app.task
def add(x: int, y: int = 0) -> int:
    return x + y


@app.task(name="named", max_retries=3, autoretry_for=(OSError,))
def named(text: str, *, loud: bool = False) -> str:
    return text.upper() if loud else text


@app.task(bind=True)
def bound(self: Task[..., Any], x: int) -> float:
    assert_type(self.request.retries, int)
    if x < 0:
        raise self.retry(countdown=3, exc=ValueError(x))
    self.update_state(state="PROGRESS", meta={"done": x})
    return x / 2


class Base(Task[..., Any]):
    acks_late = False
    serializer = "yaml"
    max_retries = None
    throws = (KeyError,)

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        super().on_failure(exc, task_id, args, kwargs, einfo)


@app.task(base=Base, bind=True)
def based(self: Base, x: int) -> None: ...


@app.task
async def fetch(url: str) -> bytes:
    return url.encode()


@shared_task
def shared(x: int) -> str:
    return str(x)


@shared_task(bind=True, name="shared.bound")
def shared_bound(self: Task[..., Any], x: int) -> list[int]:
    return [x]


# Called as functions.
assert_type(add(1, 2), int)
assert_type(named("a", loud=True), str)
assert_type(bound(3), float)
based(1)
assert_type(shared(1), str)

# Sent.
assert_type(add.delay(1), AsyncResult[int])
assert_type(add.delay(1, y=2).get(timeout=3), int)
assert_type(named.delay("a", loud=True), AsyncResult[str])
assert_type(bound.delay(3), AsyncResult[float])
assert_type(shared_bound.delay(1).get(), list[int])
assert_type(
    add.apply_async((1, 2), countdown=3, queue=Queue("q"), priority=5, headers={"a": 1}, expires=60.0, time_limit=None),
    AsyncResult[int],
)
assert_type(add.apply((1,), throw=True), EagerResult[int])
assert_type(app.send_task("by.name", (1,), queue="q"), AsyncResult[Any])

# A coroutine task gives what it returns, not the coroutine.
assert_type(fetch.delay("u"), AsyncResult[bytes])
assert_type(fetch.apply_async(("u",)).get(), bytes)
assert_type(add.apply_async_many([(1, 2), [3]], queue="q"), list[AsyncResult[int]])
assert_type(fetch.apply_async_many(("u", "v") for _ in range(3)), list[AsyncResult[bytes]])
assert_type(fetch.apply(("u",)), EagerResult[bytes])


async def run() -> None:
    assert_type(await add.delay(1), int)
    assert_type(await (await add.adelay(1)), int)
    assert_type(await add.aapply_async((1,), queue="q"), AsyncResult[int])
    assert_type(await (await fetch.adelay("u")), bytes)
    assert_type(await fetch("u"), bytes)
    assert_type(await add.delay(1).aget(timeout=3), int)


# Attributes.
assert_type(add.name, str)
assert_type(add.acks_late, bool)
assert_type(add.time_limit, "float | None")
assert_type(add.delay(1).state, str)
assert_type(add.delay(1).traceback, "str | None")
assert_type(current_app, Umbel)
celery: Umbel = Celery("other")
app.conf.task_serializer = "json"
app.conf["task_acks_late"] = False
