"""Messages of workflows, beside what Celery 5.7 sent for the same calls (tests/wire/vectors)."""

from __future__ import annotations

import json
import re
import uuid
from pathlib import Path
from typing import Any

import pytest

from umbel import Umbel, _native, chain, chord, group, signature
from umbel.canvas import StampingVisitor
from umbel.canvas.outbox import Outbox

VECTORS = Path(__file__).parents[2] / "wire" / "vectors"
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
NAMES = [
    "chain2",
    "chain4",
    "chain_into_group",
    "chain_link_error",
    "chord2",
    "chord_of_chains",
    "group3",
    "group_of_chains",
    "chunks",
    "stamps_kwargs_chain",
]


class Task:
    """A task by name: the applications that recorded the vectors had theirs elsewhere."""

    def __init__(self, app: Umbel, name: str) -> None:
        self._app, self._name = app, name

    def s(self, *args: Any, **kwargs: Any) -> Any:
        return signature(self._name, args, kwargs, app=self._app)

    def chunks(self, it: Any, n: int) -> Any:
        from umbel import chunks

        return chunks(self.s(), it, n, app=self._app)


@pytest.fixture
def app() -> Any:
    url = f"memory://{uuid.uuid4()}"
    with Umbel("wire", broker=url, backend=url, set_as_current=True) as app:
        yield app


def recorded(name: str) -> dict[str, Any]:
    vector: dict[str, Any] = json.loads((VECTORS / f"msg_{name}.json").read_text())
    return vector


def theirs(name: str) -> list[tuple[dict[str, Any], Any]]:
    """Headers and bodies, first message first."""
    lists = recorded(name)["captured"]["lists"]
    return [(json.loads(one["raw"])["headers"], json.loads(one["view"]["body_bytes"])) for one in lists][::-1]


def ours(messages: list[Any]) -> list[tuple[dict[str, Any], Any]]:
    read = []
    for prepared in messages:
        message = prepared.message
        headers = _native.json_loads(_native.json_dumps(dict(message["headers"])))
        body = _native.json_loads(message["body"])
        read.append((headers, body))
    return read


def numbered(messages: list[tuple[dict[str, Any], Any]]) -> str:
    """As text, with ids in the order in which they occur, and without what differs between processes."""
    seen: dict[str, int] = {}
    shown = []
    for headers, body in messages:
        headers = {**headers, "origin": "", "ignore_result": None}
        shown.append([dict(sorted(headers.items())), body])
    text = json.dumps(shown, sort_keys=True)
    return UUID.sub(lambda match: str(seen.setdefault(match.group(), len(seen))), text)


@pytest.mark.parametrize("name", NAMES)
def test_messages_are_celerys(app: Umbel, name: str) -> None:
    call = recorded(name)["call"]
    names = {"add": Task(app, "wire.add"), "xsum": Task(app, "wire.xsum"), "onerr": Task(app, "wire.onerr")}
    names |= {"chain": chain, "group": group, "chord": chord}
    call = call.removesuffix(".apply_async()").removesuffix("()")
    if ".stamp" in call:
        flow = eval(call.partition(".stamp")[0], dict(names))
        flow.stamp(stamp="v1")
        options: dict[str, Any] = {}
    elif ".apply_async(" in call:
        text, _, given = call.partition(".apply_async(")
        flow = eval(text, dict(names))
        options = eval(f"dict({given}", dict(names))
    elif call.startswith("chord("):
        flow, options = eval(call.replace("](", "], ").replace(")(", ", "), dict(names)), {}
    else:
        flow, options = eval(call, dict(names)), {}
    outbox = Outbox()
    flow.apply_async(producer=outbox, **options)
    assert numbered(ours(outbox.messages)) == numbered(theirs(name))


class Visitor(StampingVisitor):
    def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
        return {"tenant": "t"}


def test_stamps_travel_in_headers(app: Umbel) -> None:
    outbox = Outbox()
    flow = group(signature("wire.add", (1, 1), app=app), signature("wire.add", (2, 2), app=app))
    flow.stamp(Visitor())
    flow.apply_async(producer=outbox)
    for headers, _ in ours(outbox.messages):
        assert headers["stamped_headers"] == ["tenant"]
        assert headers["stamps"] == {"tenant": "t"}


def nested(app: Umbel, depth: int, width: int) -> Any:
    add = signature("wire.add", (1,), app=app)
    flow = add
    for _ in range(depth):
        flow = chord([add.clone() for _ in range(width)], flow, app=app)
    return flow


def test_messages_grow_no_faster_than_the_workflow(app: Umbel) -> None:
    sizes = []
    for depth in (4, 8, 16):
        outbox = Outbox()
        nested(app, depth, 3).apply_async(producer=outbox)
        sizes.append(max(len(_native.json_dumps(prepared.body)) for prepared in outbox.messages))
    assert sizes[2] - sizes[1] < 2.2 * (sizes[1] - sizes[0])


def test_ids_of_one_workflow_follow_each_other(app: Umbel) -> None:
    add = signature("wire.add", (1,), app=app)
    for flow in (group(add.clone() for _ in range(20)), chain(add.clone() for _ in range(20))):
        flow.freeze()
        ids = [task.id for task in flow.tasks]
        assert len(set(ids)) == 20
        assert all(str(uuid.UUID(one)) == one for one in ids)
        heads, tails = {one[:24] for one in ids}, sorted(int(one[24:], 16) for one in ids)
        assert len(heads) == 1
        assert tails[-1] - tails[0] == 19
    own = signature("wire.add", (1,), {}, {"task_id": "mine"}, app=app)
    other = group(own, add).freeze()
    assert other.results[0].id == "mine"


def test_fifty_nested_chords_take_little_more_than_their_ids(app: Umbel) -> None:
    outbox = Outbox()
    nested(app, 50, 10).apply_async(producer=outbox)
    bodies = [prepared.message["body"] for prepared in outbox.messages]
    assert len(bodies) == 10
    # 510 calls are left to make.
    assert max(map(len, bodies)) < 510 * 16


def test_the_rest_of_a_long_workflow_is_compressed(app: Umbel) -> None:
    outbox = Outbox()
    chain(signature("wire.add", (1,), app=app) for _ in range(200)).apply_async(producer=outbox)
    (prepared,) = outbox.messages
    packed, method = prepared.message["body"], prepared.message["headers"]["compression"]
    whole = _native.decompress(packed, method)
    assert whole == _native.json_dumps(prepared.body)
    assert len(packed) * 5 < len(whole)
