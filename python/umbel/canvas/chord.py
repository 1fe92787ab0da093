"""`chord`: a body that is called with the results of all members of a header, once the last one has finished."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from umbel import _current, _native
from umbel.canvas.chain import eldest
from umbel.canvas.freezing import Place
from umbel.canvas.group import group, unrolled
from umbel.canvas.outbox import outbox_of
from umbel.canvas.signature import Signature, _item, as_list, kind_of, maybe_signature, signature
from umbel.canvas.stamping import StampingVisitor, merge_stamps
from umbel.result import GroupResult, allow_join_result

__all__ = ["chord", "size_of"]

#: Options of a chord that are its body's alone.
_OF_BODY = frozenset({"chain", "chord", "group_id", "group_index", "link", "link_error", "task_id"})
#: Those that are not for the first step of its body: the header's, and those of the last step.
_NOT_OF_BODY = frozenset({"countdown", "eta", "parent_id", *_OF_BODY})
#: What a chain takes out of its options for itself when it runs.
_OF_CHAIN = frozenset({"chord", "group_id", "group_index", "link", "link_error", "parent_id", "root_id", "task_id"})


def size_of(sig: Any) -> int:
    """How many results a header member brings: those of the last step of a chain, of every member of a group."""
    kind = kind_of(sig)
    if kind == "group":
        return sum(size_of(task) for task in sig["kwargs"]["tasks"])
    if kind == "chain":
        return next((size for task in reversed(sig["kwargs"]["tasks"]) if (size := size_of(task))), 0)
    return size_of(sig["kwargs"]["body"]) if kind == "chord" else 1


@Signature.register_type()
class chord(Signature):
    """A body that waits for a header.

    Args:
        header: Signatures, an iterable of them, or a group.
        body: Signature that gets the list of their results, in order.
        options: Of `apply_async`.
    """

    tasks = _item("kwargs", "header")
    body = _item("kwargs", "body")

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Any = None) -> chord:
        """The chord of a dict."""
        fields = dict(d)
        kwargs = dict(fields.pop("kwargs"))
        header, body = kwargs.pop("header", None), kwargs.pop("body", None)
        return cls(header, body, app=app, kwargs=kwargs, **fields)

    def __init__(
        self,
        header: Any,
        body: Any = None,
        task: str = "celery.chord",
        args: Any = None,
        kwargs: Any = None,
        app: Any = None,
        **options: Any,
    ) -> None:
        fields = {"kwargs": {}, **(kwargs or {})}
        fields["header"] = _members(header, app)
        fields["body"] = maybe_signature(body, app=app)
        options.pop("subtask_type", None)
        super().__init__(task, args, fields, app=app, **options)
        self.subtask_type = "chord"

    def __call__(self, body: Any = None, **options: Any) -> Any:
        """Sends it, with that body."""
        return self.apply_async((), {"body": body} if body else {}, **options)

    def __or__(self, other: Any) -> Any:
        joined = super().__or__(other)
        alone = kind_of(joined) == "chain" and len(joined.tasks) == 1
        return joined.tasks[0] if alone and kind_of(unrolled(other)) not in ("group", "chain") else joined

    def __len__(self) -> int:
        return len(self.header_group().tasks)

    def __length_hint__(self) -> int:
        return sum(size_of(task) for task in self.header_group().tasks)

    def __bool__(self) -> bool:
        return True

    def header_group(self) -> group:
        """The header as a group."""
        if kind_of(self.tasks) != "group":
            self.tasks = group(self.tasks, app=self._app)
        self.tasks = maybe_signature(self.tasks, app=self._app)
        return cast(group, self.tasks)

    # --- sending

    def apply_async(
        self,
        args: Any = None,
        kwargs: Any = None,
        task_id: str | None = None,
        body: Any = None,
        add_to_parent: bool = True,
        **options: Any,
    ) -> Any:
        """Sends the header. Returns the result of the body, whose id `task_id` is; its parent is the header's.

        `link` and `link_error` are the body's, `countdown` and `eta` the header's.
        """
        kwargs = dict(kwargs or {})
        body = maybe_signature(kwargs.pop("body", None) or body or self.body, app=self._app)
        if body is None:
            raise TypeError("a chord needs a body to be applied: chord(header, body), or chord(header)(body)")
        args = self.args if self.immutable or not args else (*args, *self.args)
        kwargs = {**self["kwargs"]["kwargs"], **kwargs}
        body = body.clone()
        app = body.app if self._app is None else self._app
        options = {name: value for name, value in options.items() if value is not None}
        if app.conf.task_always_eager:
            body = _linked(body, {**self.options, **options})
            with allow_join_result():
                return self.apply(args, kwargs, body=body, task_id=task_id, **options)
        outbox, mine = outbox_of(options)
        merged = {**self.options, **options}
        header_id = self.options.get("task_id") or _native.uuid4()
        merged.pop("task_id", None)
        result = self._run(app, header_id, body, args, kwargs, task_id, outbox, mine, merged)
        if mine:
            outbox.publish(app, **merged)
        parent: Any = _current.current_worker_request()
        if add_to_parent and parent is not None and parent.task_object.trail:
            parent.children.append(result)
        return result

    def _run(
        self, app: Any, header_id: str, body: Any, args: Any, kwargs: Any, task_id: str | None, outbox: Any,
        in_batches: bool, options: dict[str, Any],
    ) -> Any:  # fmt: skip
        root_id = body.options.get("root_id") or options.get("root_id")
        as_chain = self.TYPES["chain"]([_linked(body, options)], app=app)
        as_chain.keeps_groups = True
        steps, results = as_chain.prepare_steps(
            (), {}, as_chain.tasks, root_id, None, None, None, task_id, options.get("group_id"), options.get("chord"),
            group_index=options.get("group_index"),
        )  # fmt: skip
        first = steps.pop()
        first.options.update({name: value for name, value in options.items() if name not in _NOT_OF_BODY})
        if kind_of(first) is None:
            first.options.setdefault("group_id", header_id)
        later = [*(options.get("chain") or ()), *steps]
        if later:
            first.options["chain"] = later
        members = list(self.header_group().prepared(header_id, root_id, first))
        header_result: Any = GroupResult(header_id, [result for _, result in members])
        if not members:
            first.apply_async(([],), producer=outbox, add_to_parent=False)
        else:
            counted = app.results.counts_chords
            if counted:
                app.results.start_chord(header_id, sum(size_of(task) for task, _ in members))
            shared = {name: value for name, value in options.items() if name not in _OF_BODY}
            # Of a large header the first members run while the last ones are made; what looks for them goes with them.
            sink = None if in_batches and counted else outbox
            results_sent = self.header_group().send(members, sink, args, kwargs, shared)
            header_result = GroupResult(header_id, list(results_sent))
            if not counted:
                _look_for(header_result, first, app, outbox)
        eldest(results[0]).parent = header_result
        return results[0]

    def apply(
        self, args: Any = None, kwargs: Any = None, propagate: bool = True, body: Any = None, **options: Any
    ) -> Any:
        """Runs header and body here."""
        options.pop("producer", None)
        body = maybe_signature(self.body if body is None else body, app=self._app)
        results = self.header_group().clone().apply(args, kwargs)
        with allow_join_result():
            return body.apply(args=(results.get(propagate=propagate),))

    # --- changing

    def _frozen(self, task_id: str | None, place: Place) -> Any:
        """Header and body get ids; the body that given, and its place."""
        header = self.header_group()
        header_result = header.freeze(chord=self.body, root_id=place.root_id, parent_id=place.parent_id)
        self.id = header.id
        if self.body is None:
            return None
        body = self.body = maybe_signature(self.body, app=self._app)
        result = body.freeze(task_id, *place._replace(parent_id=None))
        eldest(result).parent = header_result
        return result

    def clone(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """A copy, header and body included."""
        copy = super().clone(args, kwargs, **options)
        copy.body = maybe_signature(copy.body, app=self._app, clone=True)
        return copy

    def with_args(self, args: Any, kwargs: Any) -> Any:
        """A copy whose header members have these arguments before their own."""
        copy = self.clone()
        copy.tasks = copy.header_group().with_args(args, kwargs)
        return copy

    def without_tail(self) -> list[Any]:
        """The chord with the first step of its body, and the other steps.

        Every header member carries the body; what comes after its first step need not be part of that.
        """
        body = maybe_signature(self.body, app=self._app)
        if kind_of(body) != "chain" or not body.tasks or kind_of(body.tasks[0]) == "group":
            return [self]
        first, *rest = body.unchain_tasks()
        first.options.update({k: v for k, v in body.options.items() if k not in _OF_CHAIN})
        self.body = first
        return [self, *rest]

    def set_immutable(self, immutable: bool) -> None:
        """Of the header's members."""
        for task in self.header_group().tasks:
            task.set_immutable(immutable)

    def link(self, callback: Any) -> Any:
        """Links to the body."""
        self.body.link(callback)
        return callback

    def link_error(self, errback: Any) -> Any:
        """Links to the body, and with `task_allow_error_cb_on_chord_header` to the header's members as well."""
        errback = maybe_signature(errback)
        for task in self.header_group().tasks:
            if self.app.conf.task_allow_error_cb_on_chord_header:
                task.link_error(errback.clone(immutable=True))
            elif kind_of(task) == "chord":
                task.link_error(errback)
        self.body.link_error(errback)
        return errback

    def stamp(self, visitor: StampingVisitor | None = None, append_stamps: bool = False, **headers: Any) -> Any:
        """Stamps the header's members and the body."""
        header = self.header_group()
        header.tasks = self._stamp_tasks("chord_header", header.tasks, visitor, append_stamps, headers)
        if self.body is not None:
            found = None if visitor is None else visitor.on_chord_body(self, **headers) or {}
            self.body.stamp(visitor, append_stamps, **merge_stamps(headers, found, append_stamps, None))
        return self

    @property
    def app(self) -> Any:
        """The application, of its body or first member if it has none itself."""
        if self._app is not None:
            return self._app
        if isinstance(self.body, Signature):
            return self.body.app
        return self.header_group().app

    def __repr__(self) -> str:
        header = self.tasks if isinstance(self.tasks, list) else self.tasks["kwargs"]["tasks"]
        return f"chord({header!r}, {self.body!r})"


def _members(header: Any, app: Any) -> list[Any]:
    """The members of a header, which may be a group, a chain (its steps), one signature or several."""
    if isinstance(header, Mapping):
        found = maybe_signature(header, app=app)
        return list(found.tasks) if kind_of(found) in ("group", "chain") else [found]
    return [signature(task, app=app) for task in header or ()]


def _linked(body: Any, options: Mapping[str, Any]) -> Any:
    """The body with the callbacks and errbacks of the chord."""
    for callback in as_list(options.get("link")):
        body.link(maybe_signature(callback).clone())
    for errback in as_list(options.get("link_error")):
        if kind_of(body) == "group":
            body.link_error(errback)
        else:
            body.append_to_list_option("link_error", errback)
    return body


def _look_for(header: GroupResult[Any], body: Signature, app: Any, outbox: Any) -> None:
    """Sends the message that looks for the header's results again and again, as Celery does for stores that cannot
    count, and then sends the body."""
    interval = app.conf.result_chord_retry_interval
    members = [result.as_tuple() for result in header]
    arguments = {"interval": interval, "result": members}
    unlock = signature("celery.chord_unlock", args=(header.id, body), kwargs=arguments, app=app)
    # Where the body is to run there are workers.
    place = {name: body.options[name] for name in ("queue", "exchange", "routing_key") if name in body.options}
    unlock.apply_async(countdown=interval, producer=outbox, add_to_parent=False, **place)
