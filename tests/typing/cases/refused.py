"""Programs with mistakes. Each line marked `# wrong` must be refused, and no other."""

from __future__ import annotations

from typing import Any

from umbel import Task, Umbel, shared_task

app = Umbel("proj")


@app.task
def add(x: int, y: int = 0) -> int:
    return x + y


@app.task(bind=True)
def bound(self: Task[..., Any], x: int) -> float:
    return x / 2


@app.task(name="keyword")
def keyword(text: str, *, loud: bool) -> str:
    return text


@app.task
async def fetch(url: str) -> bytes:
    return url.encode()


@shared_task(name="shared")
def shared(x: int) -> str:
    return str(x)


add.delay()  # wrong
add.delay("1")  # wrong
add.delay(1, 2, 3)  # wrong
add.delay(1, z=2)  # wrong
add(None)  # wrong
bound.delay("a")  # wrong
bound.delay(bound, 1)  # wrong
keyword.delay("a")  # wrong
keyword.delay("a", True)  # wrong
shared.delay("a")  # wrong
fetch.delay(1)  # wrong

text: str = add.delay(1).get()  # wrong
number: int = shared(1)  # wrong
data: str = fetch.delay("u").get()  # wrong

add.apply_async((1,), countdwn=3)  # wrong
add.apply_async((1,), priority="high")  # wrong
app.send_task("x", (), task_id=5)  # wrong
Umbel("proj", broker=5)  # wrong
app.task(5)  # wrong


async def run() -> None:
    await add.adelay("1")  # wrong
    result: str = await add.delay(1)  # wrong
    assert result
