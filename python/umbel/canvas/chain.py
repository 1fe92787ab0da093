"""`chain`: calls one after the other, each with the result of the one before.

A group followed by a step is a chord: the step waits for all of the group. `prepare_steps` brings a chain into the
form it travels in: the first step as a message, the others as its header `chain`, last step first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from umbel import _current
from umbel.canvas.freezing import Place, Series
from umbel.canvas.group import is_empty, unrolled
from umbel.canvas.outbox import outbox_of
from umbel.canvas.signature import Signature, _item, as_list, kind_of, maybe_signature
from umbel.canvas.stamping import StampingVisitor
from umbel.result import allow_join_result

__all__ = ["_chain", "chain"]

#: Options of a chain that are not for its first step.
_ITS_OWN = frozenset({"chord", "group_id", "group_index", "link", "link_error", "parent_id", "root_id", "task_id"})


def join(steps: list[Any], other: Any) -> None:
    """Adds a signature, which is ours to change, to the steps of a chain."""
    other = unrolled(other)
    kind = kind_of(other)
    last: Any = steps[-1] if steps else None
    if is_empty(other):
        return
    if kind == "chain":
        for task in other.unchain_tasks():
            join(steps, task)
    elif kind_of(last) == "chord" and kind != "chord":
        extend_body(last, other)
    elif kind_of(last) == "group" and kind != "group":
        steps[-1] = Signature.TYPES["chord"](last, other, app=last._app)
        if len(steps) > 1 and kind_of(steps[-2]) == "chord":
            extend_body(steps[-2], steps.pop())
    else:
        steps.append(other)


def extend_body(chord: Any, other: Any) -> None:
    """Has a signature run after the body of a chord, as part of it."""
    body = maybe_signature(chord.body, app=chord._app)
    steps = body.unchain_tasks() if kind_of(body) == "chain" else [body]
    join(steps, other)
    chord.body = steps[0] if len(steps) == 1 else _chain(*steps, app=chord._app)


@Signature.register_type(name="chain")
class _chain(Signature):
    tasks = _item("kwargs", "tasks")
    #: A group of one is a group here, whose result is a list.
    keeps_groups = False

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Any = None) -> Any:
        """The chain of a dict."""
        tasks = [maybe_signature(task, app=app) for task in d["kwargs"]["tasks"] or ()]
        made = cls(*tasks, app=app, **d["options"]) if len(tasks) != 1 else cls(tasks, app=app, **d["options"])
        made.args = tuple(d.get("args") or ())
        made.immutable = bool(d.get("immutable"))
        return made

    @classmethod
    def of_steps(cls, items: Iterable[Any], app: Any = None) -> Any:
        """What `first | second | ...` is: a chain, or a group or chord if it begins with a group and is all of it."""
        steps: list[Any] = []
        starts_with_group = False
        for item in items:
            sig = maybe_signature(item, app=app)
            if not isinstance(sig, Signature):
                raise TypeError(f"a chain is made of signatures, not {type(item).__name__}")
            if not steps:
                starts_with_group = kind_of(unrolled(sig)) == "group"
            join(steps, sig.clone())
        if len(steps) == 1 and starts_with_group:
            return steps[0]
        return cls(steps, app=app)

    def __init__(self, *tasks: Any, **options: Any) -> None:
        options.pop("use_link", None)
        given = tasks[0] if len(tasks) == 1 and not isinstance(tasks[0], Mapping) else tasks
        super().__init__("celery.chain", (), {"tasks": list(given)}, **options)
        self.subtask_type = "chain"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Sends it."""
        return self.apply_async(args, kwargs) if self.tasks else None

    def __or__(self, other: Any) -> Any:
        if not isinstance(other, Signature):
            return NotImplemented
        if is_empty(other) and kind_of(other) == "group":
            return self
        if not self.tasks and kind_of(unrolled(other)) == "group":
            return unrolled(other)
        steps: list[Any] = []
        for task in (*self.unchain_tasks(), other.clone()):
            join(steps, task)
        return type(self)(steps, app=self._app)

    def clone(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """A copy, steps included."""
        copy = super().clone(args, kwargs, **options)
        copy.tasks = [maybe_signature(task, app=self._app).clone() for task in copy.tasks]
        return copy

    def unchain_tasks(self) -> list[Any]:
        """Copies of the steps, with the chain's links: callbacks at the last one, errbacks at each."""
        tasks = [maybe_signature(task, app=self._app).clone() for task in self.tasks]
        for callback in as_list(self.options.get("link")):
            tasks[-1].link(callback)
        for errback in as_list(self.options.get("link_error")):
            for task in tasks:
                task.link_error(errback)
        return tasks

    # --- sending

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Sends the first step, which carries the others. Returns the result of the last one."""
        options = {name: value for name, value in options.items() if value is not None}
        if self.app.conf.task_always_eager:
            with allow_join_result():
                return self.apply(args, kwargs, **options)
        return self.run(args, kwargs, **{**self.options, **options})

    def run(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """`apply_async` for all options, given or its own."""
        own: dict[str, Any] = {name: options.pop(name, None) for name in _ITS_OWN}
        outbox, mine = outbox_of(options)
        add_to_parent = options.pop("add_to_parent", True)
        if self.args and args and not self.immutable:
            args = (*tuple(args), *tuple(self.args))
        elif self.args or self.immutable:
            args = self.args
        tasks, results = self.prepare_steps(
            args, {} if self.immutable else kwargs, self.tasks, own["root_id"], own["parent_id"], own["link_error"],
            None, own["task_id"], own["group_id"], own["chord"], group_index=own["group_index"],
        )  # fmt: skip
        if not tasks:
            return None
        if own["link"]:
            for callback in as_list(own["link"]):
                tasks[0].link(callback)
        first = tasks.pop()
        rest = [*(options.pop("chain", None) or ()), *tasks]
        if rest:
            options["chain"] = rest
        if own["parent_id"]:
            options["parent_id"] = own["parent_id"]
        result = first.apply_async(producer=outbox, add_to_parent=add_to_parent and not tasks, **options)
        if mine:
            outbox.publish(self.app, **options)
        if not tasks:
            return result
        parent: Any = _current.current_worker_request()
        if add_to_parent and parent is not None and parent.task_object.trail:
            parent.children.append(results[0])
        return results[0]

    def _frozen(self, task_id: str | None, place: Place) -> Any:
        """Every step gets an id; the last one that given, and its place."""
        tasks, results = self.prepare_steps(
            self.args, self.kwargs, self.tasks, place.root_id, place.parent_id, None, None, task_id or self.id,
            place.group_id, place.chord, clone=False, group_index=place.group_index,
        )  # fmt: skip
        self.args = ()
        self.tasks = tasks[::-1]
        return results[0]

    def prepare_steps(
        self,
        args: Any,
        kwargs: Any,
        tasks: Iterable[Any],
        root_id: str | None = None,
        parent_id: str | None = None,
        link_error: Any = None,
        app: Any = None,
        last_task_id: str | None = None,
        group_id: str | None = None,
        chord_body: Any = None,
        clone: bool = True,
        group_index: int | None = None,
    ) -> tuple[list[Any], list[Any]]:
        """Steps as they travel, frozen, and their results; both last step first.

        Chains in the chain become part of it, groups before a step become chords, empty groups vanish. The first step
        gets `args` and `kwargs`; the last one `last_task_id`, and counts for `group_id` and `chord_body`. With
        `clone`, copies are prepared.
        """
        kwargs = {name: value for name, value in (kwargs or {}).items() if name != "tasks"}
        steps = self._linear(tasks, clone)
        if steps and (args or kwargs):
            steps[0] = _with_args(steps[0], args, kwargs)
        frozen: list[Any] = []
        results: list[Any] = []
        ids = Series()
        last = Place(group_id, chord_body, root_id, None, group_index)
        for step in reversed(steps):
            if not frozen:
                result = step.freeze(last_task_id or ids.next_for(step), *last)
            else:
                result = step.freeze(ids.next_for(step), root_id=root_id)
                eldest(results[-1]).parent = result
            for errback in as_list(link_error):
                step.append_to_list_option("link_error", errback)
                if kind_of(step) == "chord" and step.body is not None:
                    step.body.link_error(errback)
            frozen.append(step)
            results.append(result)
        if results:
            self.id = results[0].id
        if clone:
            for step in frozen:
                strip_header_links(step)
        return frozen, results

    def _linear(self, tasks: Iterable[Any], clone: bool) -> list[Any]:
        """The steps without chains among them, groups before a step upgraded."""
        flat: list[Any] = []
        emptied: Any = None
        for task in tasks:
            step = maybe_signature(task, app=self._app)
            if not self.keeps_groups:
                step = unrolled(step)
            if clone:
                step = step.clone()
            if is_empty(step) and not self.keeps_groups:
                emptied = emptied if kind_of(step) == "chain" else step
            elif kind_of(step) == "chain":
                flat += self._linear(step.unchain_tasks() if clone else step.tasks, False)
            elif clone and kind_of(step) == "chord":
                flat += step.without_tail()
            else:
                flat.append(step)
        if not flat and emptied is not None:
            return [emptied]
        upgraded: list[Any] = []
        for step in reversed(flat):
            if kind_of(step) == "group" and upgraded:
                step = self.TYPES["chord"](step, upgraded.pop(), app=self._app)
            upgraded.append(step)
        return upgraded[::-1]

    def apply(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Runs the steps here. Returns the result of the last one that ran."""
        options = {**self.options, **options}
        options.pop("producer", None)
        link = options.pop("link", None)
        steps = [step for step in self.tasks if not is_empty(step)] or list(self.tasks[:1])
        last: Any = None
        for number, task in enumerate(steps):
            step = maybe_signature(task, app=self._app).clone()
            if link and number == len(steps) - 1:
                for callback in as_list(link):
                    step.link(callback)
            given = (args, kwargs) if last is None else ((last.get(),), None)
            result = step.apply(*given, **options)
            result.parent, last = last, result
            if getattr(result, "state", None) in ("IGNORED", "REJECTED"):
                break
        return last

    def stamp(self, visitor: StampingVisitor | None = None, append_stamps: bool = False, **headers: Any) -> Any:
        """Stamps every step."""
        self.tasks = self._stamp_tasks("chain", self.tasks, visitor, append_stamps, headers)
        return self

    @property
    def app(self) -> Any:
        """The application, of its first step if it has none itself."""
        if self._app is not None:
            return self._app
        first = next((task for task in self.tasks if isinstance(task, Signature)), None)
        return first.app if first is not None else _current.current_app()

    def __repr__(self) -> str:
        return " | ".join(repr(task) for task in self.tasks) if self.tasks else "<chain: empty>"


class chain(_chain):
    """Calls one after the other, each with the result of the one before as its first argument.

    Args:
        tasks: Signatures, or one iterable of them.
        options: Of `apply_async`.

    Returns a group or chord where the steps come to just that: `chain(group(...), step)` is a chord.
    """

    def __new__(cls, *tasks: Any, **options: Any) -> Any:
        if options or not tasks or (len(tasks) == 1 and isinstance(tasks[0], Mapping)):
            return super().__new__(cls)
        # Not one of this class, which would be initialised again with what was given.
        return _chain.of_steps(tasks[0] if len(tasks) == 1 else tasks)


def _with_args(step: Any, args: Any, kwargs: Any) -> Any:
    if kind_of(step) in ("group", "chord"):
        return step.with_args(args, kwargs)
    step.args, step.kwargs, _ = step._merge(args, kwargs, None)
    step.args = tuple(step.args)
    return step


def eldest(result: Any) -> Any:
    """The first of the results that lead to this one."""
    while result.parent is not None:
        result = result.parent
    return result


def strip_header_links(sig: Any) -> None:
    """Takes the body off the header members of chords that are yet to run: they get it again when they do, and until
    then each copy would travel with every message."""
    kind = kind_of(sig)
    if kind == "chord":
        if kind_of(sig.tasks) == "group":
            sig.tasks["options"].pop("chord", None)
        for task in sig.tasks.tasks if kind_of(sig.tasks) == "group" else sig.tasks:
            _clear_chord(task)
            strip_header_links(task)
        if sig.body is not None:
            strip_header_links(sig.body)
    elif kind in ("group", "chain"):
        for task in sig.tasks:
            strip_header_links(task)


def _clear_chord(sig: Any) -> None:
    sig["options"].pop("chord", None)
    kind = kind_of(sig)
    if kind == "group":
        for task in sig.tasks:
            _clear_chord(task)
    elif kind == "chain" and sig.tasks:
        _clear_chord(sig.tasks[-1])
    elif kind == "chord" and sig.body is not None:
        _clear_chord(sig.body)
