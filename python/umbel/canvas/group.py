"""`group`: calls that run side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from umbel import _current, _native
from umbel.canvas.freezing import Place, Series
from umbel.canvas.outbox import Outbox, outbox_of
from umbel.canvas.signature import Signature, _item, kind_of, maybe_signature
from umbel.canvas.stamping import StampingVisitor
from umbel.result import GroupResult

__all__ = ["group", "is_empty", "unrolled"]

#: Messages that are published while later ones are still being made.
_BATCH = 1000
#: Options of a group that say where it stands itself; its members have their own.
_ITS_OWN = frozenset({"chord", "group_id", "group_index", "producer", "task_id"})


def unrolled(sig: Any) -> Any:
    """The only member of a group of one; anything else as it is."""
    while kind_of(sig) == "group" and len(sig.tasks) == 1:
        sig = maybe_signature(sig.tasks[0], app=sig._app)
    return sig


def _of_one_result(sig: Any) -> Any:
    """A member of a chord's header brings one result: where it ends with a group, the list of its."""
    if not _ends_in_group(sig):
        return sig
    gathered = Signature("celery.accumulate", kwargs={"index": 0}, app=sig.app)
    return Signature.TYPES["chain"].of_steps([sig, gathered], sig.app)


def _ends_in_group(sig: Any) -> bool:
    kind = kind_of(sig)
    if kind == "chain":
        return bool(sig.tasks) and _ends_in_group(unrolled(maybe_signature(sig.tasks[-1])))
    return kind == "group" or (kind == "chord" and _ends_in_group(maybe_signature(sig.body)))


def is_empty(sig: Any) -> bool:
    """True for a group without members and a chain without steps."""
    return kind_of(sig) in ("group", "chain") and not sig.tasks


@Signature.register_type()
class group(Signature):
    """Calls that run side by side; its result is a `GroupResult` of theirs.

    Args:
        tasks: Signatures, or one iterable of them (a generator, for instance).
        options: Of `apply_async`, for every member.
    """

    tasks = _item("kwargs", "tasks")

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Any = None) -> group:
        """The group of a dict."""
        tasks = d["kwargs"]["tasks"] = [maybe_signature(task, app=app) for task in d["kwargs"]["tasks"]]
        made = cls(tasks, app=app, **d["options"])
        made.immutable = bool(d.get("immutable"))
        return made

    def __init__(self, *tasks: Any, **options: Any) -> None:
        members: Iterable[Any] = tasks
        if len(tasks) == 1:
            members = tasks[0]
            if kind_of(members) == "group":
                members = members.tasks  # type: ignore[attr-defined]
            elif isinstance(members, Mapping):
                members = [maybe_signature(members).clone()]
        super().__init__("celery.group", (), {"tasks": list(members)}, **options)
        self.subtask_type = "group"

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Sends it, with these arguments before those of each member."""
        return self.apply_async(args, **options)

    def __or__(self, other: Any) -> Any:
        if not isinstance(other, Signature):
            return NotImplemented
        if is_empty(other) and kind_of(other) == "group":
            return self
        return self.TYPES["chord"](self, body=other, app=self._app)

    def skew(self, start: float = 1.0, stop: float | None = None, step: float = 1.0) -> Any:
        """Has members begin one `step` (seconds) after the other, no later than `stop`."""
        countdown = start
        for task in self.tasks:
            task.set(countdown=countdown)
            countdown = countdown + step if stop is None else min(stop, countdown + step)
        return self

    # --- sending

    def apply_async(
        self,
        args: Any = None,
        kwargs: Any = None,
        add_to_parent: bool = True,
        link: Any = None,
        link_error: Any = None,
        **options: Any,
    ) -> Any:
        """Sends all members, up to a thousand in one step of the broker.

        Raises TypeError for `link` and `link_error`: link to a chord's body, or to the members.
        """
        if link is not None:
            raise TypeError("Cannot add link to group: use a chord")
        if link_error is not None:
            raise TypeError("Cannot add link_error to group: do that on individual tasks")
        if self.app.conf.task_always_eager:
            return self.apply(args, kwargs, **options)
        if not self.tasks:
            return self.freeze()
        later = options.pop("chain", None) or self.options.get("chain")
        if later:
            # Steps that follow are to wait for all of the group.
            *rest, following = later
            upgraded: Any = self.TYPES["chord"](self, following, app=self._app)
            return upgraded.apply_async(args, kwargs, add_to_parent=add_to_parent, chain=rest, **options)
        outbox, mine = outbox_of(options)
        options, group_id = self._placed(options)
        members = self.prepared(group_id, options.get("root_id"))
        results = list(self.send(members, outbox if not mine else None, args, kwargs, options))
        result: Any = GroupResult(group_id, results)
        if len(results) == 1 and isinstance(results[0], GroupResult):
            # A group of one chain that ends in a group.
            result = results[0]
        parent: Any = _current.current_worker_request()
        if add_to_parent and parent is not None and parent.task_object.trail:
            parent.children.append(result)
        return result

    def _placed(self, options: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
        """All options, and the group's id, which is its `task_id`."""
        _, _, merged = self._merge(None, None, options)
        merged = dict(merged)
        return merged, merged.pop("task_id", None) or _native.uuid4()

    def prepared(
        self,
        group_id: str | None,
        root_id: str | None,
        chord: Any = None,
        parent_id: str | None = None,
        ids: Series | None = None,
    ) -> Iterator[tuple[Any, Any]]:
        """Each member, copied and frozen, with its result; groups in the group are part of it."""
        ids = ids or Series()
        for index, task in enumerate(self._flat()):
            if chord is not None:
                task = _of_one_result(task)
            yield task, task.freeze(ids.next_for(task), group_id, chord, root_id, parent_id, index)

    def _flat(self) -> Iterator[Any]:
        for member in self.tasks:
            task = maybe_signature(member, app=self._app)
            if kind_of(task) == "group":
                yield from task._flat()
            elif not is_empty(task):
                yield task.clone()

    def send(
        self,
        members: Iterable[tuple[Any, Any]],
        outbox: Outbox | None,
        args: Any,
        kwargs: Any,
        options: Mapping[str, Any],
    ) -> Iterator[Any]:
        """Sends prepared members, into the outbox or, without one, in batches; yields their results."""
        shared = {name: value for name, value in options.items() if name not in _ITS_OWN}
        sink = Outbox() if outbox is None else outbox
        for task, result in members:
            task.apply_async(args, kwargs, producer=sink, add_to_parent=False, **shared)
            if outbox is None and len(sink.messages) >= _BATCH:
                sink.publish(self.app, **shared)
            yield result
        if outbox is None:
            sink.publish(self.app, **shared)

    def apply(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Runs the members here, one after the other."""
        options.pop("producer", None)
        if not self.tasks:
            return self.freeze()
        options, group_id = self._placed(options)
        shared = {name: value for name, value in options.items() if name not in _ITS_OWN}
        return GroupResult(group_id, [task.apply(args=args, kwargs=kwargs, **shared) for task in self._flat()])

    # --- changing

    def _frozen(self, task_id: str | None, place: Place) -> Any:
        """The group and its members get ids; the members count for what the place says."""
        options = self.options
        new = _native.uuid4() if options.get("task_id") is None and task_id is None else None
        if options.get("task_id") is None:
            options["task_id"] = task_id or new
        if place.group_id:
            options["group_id"] = place.group_id
        if place.chord:
            options["chord"] = place.chord
        if place.group_index is not None:
            options["group_index"] = place.group_index
        root_id = options.setdefault("root_id", place.root_id)
        parent_id = options.setdefault("parent_id", place.parent_id)
        members = list(self.prepared(place.group_id, root_id, place.chord, parent_id, Series(new)))
        self.tasks = [task for task, _ in members]
        return GroupResult(options["task_id"], [result for _, result in members])

    def set_immutable(self, immutable: bool) -> None:
        """Of all members."""
        for task in self.tasks:
            task.set_immutable(immutable)

    def with_args(self, args: Any, kwargs: Any) -> Any:
        """A copy whose members have these arguments before their own."""
        copy = self.clone()
        copy.tasks = [maybe_signature(task, app=self._app).clone(args, kwargs) for task in copy.tasks]
        return copy

    def link(self, callback: Any) -> Any:
        """Links to the first member, which can pass on no more than its own result: none is passed."""
        return self.tasks[0].link(maybe_signature(callback).clone().set(immutable=True))

    def link_error(self, errback: Any) -> Any:
        """Links to each member: it is called for each one that fails."""
        errback = maybe_signature(errback)
        return tuple(task.link_error(errback.clone()) for task in self.tasks)

    def stamp(self, visitor: StampingVisitor | None = None, append_stamps: bool = False, **headers: Any) -> Any:
        """Stamps every member."""
        self.tasks = self._stamp_tasks("group", self.tasks, visitor, append_stamps, headers)
        return self

    def __len__(self) -> int:
        return len(self.tasks)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"group({self.tasks!r})" if self.tasks else "group(<empty>)"

    @property
    def app(self) -> Any:
        """The application, of its first member if it has none itself."""
        if self._app is not None:
            return self._app
        first = next((task for task in self.tasks if isinstance(task, Signature)), None)
        return first.app if first is not None else _current.current_app()
