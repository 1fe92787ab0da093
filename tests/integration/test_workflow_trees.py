"""Workflows drawn at random, run on each store, beside a plain recursive model: values, states and callbacks."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import uuid
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from servers.redis_server import RedisServer
from servers.worker_process import wait_until

from umbel import Umbel, chain, chord, group
from umbel.exceptions import ChordError
from umbel.testing import start_worker

PATIENCE = 20.0
DEPTH = 5


# --- what is drawn


@dataclass
class Tree:
    """`kind`: leaf, chain, group or chord (its last child is the body)."""

    kind: str
    children: list[Tree] = field(default_factory=list)
    #: Of a leaf: ok, fail, retry, replace (by a call) or spread (replaced by a group).
    does: str = "ok"
    label: int = 0


LEAVES = st.builds(Tree, st.just("leaf"), does=st.sampled_from(["ok"] * 8 + ["retry", "replace", "spread", "fail"]))


def branches(inner: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    children = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        st.builds(Tree, st.just("chain"), children),
        st.builds(Tree, st.just("group"), children),
        st.builds(Tree, st.just("chord"), st.lists(inner, min_size=2, max_size=4)),
    )


def trees(depth: int) -> st.SearchStrategy[Tree]:
    return LEAVES if depth == 0 else st.one_of(LEAVES, branches(trees(depth - 1)))


def numbered(tree: Tree, labels: Iterator[int]) -> Tree:
    """A copy whose leaves have labels of their own."""
    children = [numbered(child, labels) for child in tree.children]
    return Tree(tree.kind, children, tree.does, next(labels))


def labels(tree: Tree) -> Iterator[int]:
    """Of its leaves."""
    if tree.kind == "leaf":
        yield tree.label
    for child in tree.children:
        yield from labels(child)


# --- the model


class Failed(Exception):
    """The outcome of a workflow that fails; `kinds` are the classes of exceptions it may be told by."""

    def __init__(self, *kinds: type[BaseException]) -> None:
        super().__init__(kinds)
        self.kinds = kinds


class Model:
    """Runs a tree as a workflow is meant to run, and notes which callbacks are called."""

    def __init__(self) -> None:
        self.notes: Counter[str] = Counter()
        #: State in which each leaf that ran ends, by its label.
        self.states: dict[int, str] = {}

    def run(self, tree: Tree, value: Any) -> Any:
        return self._steps(steps_of(tree), value)

    def whole(self, tree: Tree, value: Any) -> Any:
        """A group that is all there is keeps its list, also of one."""
        return self.group(tree, value) if tree.kind == "group" else self.run(tree, value)

    def _steps(self, steps: list[Tree], value: Any) -> Any:
        for step in steps:
            value = getattr(self, step.kind)(step, value)
        return value

    def leaf(self, tree: Tree, value: Any) -> Any:
        self.states[tree.label] = "FAILURE" if tree.does == "fail" else "SUCCESS"
        if tree.does == "fail":
            self.notes[f"failed {tree.label}"] += 1
            raise Failed(ValueError)
        self.notes[f"done {tree.label}"] += 1
        if tree.does == "spread":
            return [digest(value, tree.label + 1000), digest(value, tree.label + 2000)]
        return digest(value, tree.label + (1000 if tree.does == "replace" else 0))

    def group(self, tree: Tree, value: Any) -> list[Any]:
        results: list[Any] = []
        kinds: list[type[BaseException]] = []
        for child in flat(tree):
            try:
                results.append(self.run(child, value))
            except Failed as error:
                kinds += error.kinds
        if kinds:
            # Whoever is heard of first.
            raise Failed(*kinds)
        return results

    def chord(self, tree: Tree, value: Any) -> Any:
        *_, body = tree.children
        try:
            results = self.group(header_of(tree), value)
        except Failed:
            if body.kind == "leaf":
                self.notes[f"failed {body.label}"] += 1
            raise Failed(ChordError) from None
        return self.whole(body, results)


def flat(tree: Tree) -> list[Tree]:
    """The members of a group, with those of groups in it."""
    members: list[Tree] = []
    for child in tree.children:
        steps = joined(child) if child.kind == "chain" else [child]
        # A chain that is nothing but a group is that group.
        members += flat(steps[0]) if len(steps) == 1 and steps[0].kind == "group" else [child]
    return members


def header_of(tree: Tree) -> Tree:
    return Tree("group", tree.children[:-1])


def steps_of(tree: Tree) -> list[Tree]:
    """A tree as steps one after the other; a group before a step is a chord, a group of one its member."""
    steps: list[Tree] = []
    for step in joined(tree):
        if steps and steps[-1].kind == "group":
            steps[-1] = Tree("chord", [*steps[-1].children, step])
        elif steps and ends_in_group(steps[-1]):
            *header, body = steps[-1].children
            following = Tree("chord", [*body.children, step]) if body.kind == "group" else Tree("chain", [body, step])
            steps[-1] = Tree("chord", [*header, following])
        else:
            steps.append(step)
    return steps


def ends_in_group(tree: Tree) -> bool:
    """Of a chord: its body ends with several results, for which a step that follows must wait."""
    if tree.kind != "chord":
        return tree.kind == "group"
    body = tree.children[-1]
    return body.kind == "group" or ends_in_group(steps_of(body)[-1])


def joined(tree: Tree) -> list[Tree]:
    if tree.kind == "chain":
        return [step for child in tree.children for step in joined(child)]
    if tree.kind == "group" and len(tree.children) == 1:
        return joined(tree.children[0])
    return [tree]


def digest(value: Any, label: int) -> int:
    return zlib.crc32(json.dumps([value, label]).encode())


# --- the real thing


class Bench:
    """An application with a worker in this process, and what its callbacks noted."""

    def __init__(self, url: str) -> None:
        #: By the workflow's own name, which is in its leaves' ids as well.
        self.notes: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.checked: list[tuple[str, Model, set[int]]] = []
        self._lock = threading.Lock()
        self.app = app = Umbel("trees", broker=url, backend=url, set_as_current=False)

        @app.task(name="leaf", bind=True)
        def leaf(self: Any, *given: Any, label: int, does: str) -> Any:
            value = given[0] if given else None
            if does == "fail":
                raise ValueError(label)
            if does == "retry" and self.request.retries == 0:
                raise self.retry(countdown=0)
            if does == "replace":
                raise self.replace(leaf.si(*given, label=label + 1000, does="ok"))
            if does == "spread":
                raise self.replace(group(leaf.si(*given, label=label + n, does="ok") for n in (1000, 2000)))
            return digest(value, label)

        @app.task(name="done")
        def done(run: str, label: int) -> None:
            self._note(run, f"done {label}")

        @app.task(name="failed")
        def failed(request: Any, error: BaseException, traceback: Any, run: str, label: int) -> None:
            self._note(run, f"failed {label}")

        self.leaf, self.done, self.failed = leaf, done, failed

    def _note(self, run: str, text: str) -> None:
        with self._lock:
            self.notes[run][text] += 1

    def workflow(self, run: str, tree: Tree) -> Any:
        if tree.kind == "leaf":
            sig = self.leaf.s(label=tree.label, does=tree.does).set(task_id=f"{run}-{tree.label}")
            sig.link(self.done.si(run, tree.label))
            sig.link_error(self.failed.s(run=run, label=tree.label))
            return sig
        parts = [self.workflow(run, child) for child in tree.children]
        if tree.kind == "chord":
            return chord(parts[:-1], parts[-1], app=self.app)
        return {"chain": chain, "group": group}[tree.kind](parts)

    def states(self, run: str, of: Iterable[int]) -> dict[int, str]:
        """State of each leaf, by its label."""
        of = list(of)
        found = self.app.results.read_many([f"{run}-{label}" for label in of])
        return {label: "PENDING" if meta is None else meta["status"] for label, meta in zip(of, found, strict=True)}

    def check(self, tree: Tree) -> None:
        run = str(uuid.uuid4())
        model = Model()
        try:
            expected: Any = model.whole(tree, None)
        except Failed as error:
            expected = error
        sig = self.workflow(run, tree)
        result = sig.apply_async()
        if isinstance(expected, Failed):
            with pytest.raises(expected.kinds):
                result.get(timeout=PATIENCE, follow_parents=False) if hasattr(result, "state") else result.get(
                    timeout=PATIENCE
                )
        else:
            assert result.get(timeout=PATIENCE) == expected
        wait_until(lambda: not model.notes - self.notes[run], PATIENCE, "the callbacks")
        wait_until(lambda: self.states(run, model.states) == model.states, PATIENCE, "the states")
        self.checked.append((run, model, set(labels(tree)) - set(model.states)))
        self.check_the_rest(*self.checked[-1])

    def check_the_rest(self, run: str, model: Model, others: set[int]) -> None:
        """What must not have happened, however long one waits."""
        # Of those that never ran, steps and bodies fail with what they waited for; headers were never sent.
        assert set(self.states(run, others).values()) <= {"FAILURE", "PENDING"}
        # Of a body that is a workflow itself and never ran, errbacks are called once each; which ones is up to it.
        more = self.notes[run] - model.notes
        assert all(text.startswith("failed ") and int(text.split()[1]) in others for text in more), more
        assert max(more.values(), default=0) <= 1, more


@contextlib.contextmanager
def bench_at(url: str) -> Iterator[Bench]:
    bench = Bench(url)
    logger = logging.getLogger("umbel")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with start_worker(bench.app, concurrency=4):
            yield bench
    finally:
        logger.setLevel(before)
    # Nothing may be left over: a callback that came twice was counted, or is here.
    for checked in bench.checked:
        bench.check_the_rest(*checked)
    assert bench.app.client.queue_length("celery") == 0
    assert bench.app.client.dead_letters() == []
    bench.app.close()


@pytest.fixture(scope="module", params=["memory", "sqlite", "redis"])
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    url = f"memory://{uuid.uuid4()}"
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('trees')}/q.sqlite3"
    elif request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        url = server.url(5)
    with bench_at(url) as found:
        yield found


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    # A workflow that hangs costs its patience each time: what is drawn is shown as it is.
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.differing_executors],
)
@given(tree=trees(DEPTH))
def test_a_workflow_is_what_its_parts_are(bench: Bench, tree: Tree) -> None:
    bench.check(numbered(tree, iter(range(1, 1_000))))
