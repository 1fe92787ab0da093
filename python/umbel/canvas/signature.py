"""`Signature`: a call of a task as a value: what to call, with what, and how to send it.

A signature is a dict of the form Celery's has, so that either side reads what the other wrote. Other kinds of
workflow (`chain`, `group`, `chord`, ...) are subclasses that register themselves in `Signature.TYPES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from itertools import chain as concatenated
from types import GenericAlias
from typing import Any, ClassVar

from umbel import _current, _native
from umbel.canvas.freezing import Place
from umbel.canvas.stamping import StampingVisitor, merge_stamps

__all__ = ["Signature", "as_list", "kind_of", "maybe_signature", "signature", "subtask"]

#: What a frozen signature keeps, whatever it is applied with: changing it would leave somebody waiting.
_KEPT = frozenset({"group_id", "stamped_headers"})


def as_list(value: Any) -> list[Any]:
    """The value as a list: of nothing for None, of itself unless it is a list or tuple."""
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def kind_of(sig: Any) -> str | None:
    """`chain`, `group`, `chord`, `chunks`, ..., or None for a plain call and for what is no signature."""
    kind: str | None = sig.get("subtask_type") if isinstance(sig, Mapping) else None
    return kind


class _Item:
    """An item of the dict as an attribute; `path` leads through inner dicts. None if it is missing."""

    def __init__(self, *path: str) -> None:
        self._path = path

    def __get__(self, sig: Any, owner: type | None = None) -> Any:
        if sig is None:
            return self
        for name in self._path:
            sig = sig.get(name) if sig is not None else None
        return sig

    def __set__(self, sig: Any, value: Any) -> None:
        *way, last = self._path
        for name in way:
            sig = sig[name]
        sig[last] = value


def _item(*path: str) -> Any:
    return _Item(*path)


class Signature(dict[str, Any]):
    """A call of a task that can be passed around, completed, combined, and sent.

    Args:
        task: A task, its name, or the dict of a signature (the rest is ignored then).
        args: Positional arguments. Those of the call come before them (a *partial*).
        kwargs: Keyword arguments. Those of the call win.
        options: Of `Task.apply_async`; further keyword arguments are options too.
        immutable: Take no further arguments, such as the result of the previous task.
        app: The application; the current one by default.
    """

    TYPES: ClassVar[dict[str, Any]] = {}

    id = _item("options", "task_id")
    parent_id = _item("options", "parent_id")
    root_id = _item("options", "root_id")
    task = _item("task")
    args = _item("args")
    kwargs = _item("kwargs")
    options = _item("options")
    subtask_type = _item("subtask_type")
    immutable = _item("immutable")

    _app: Any = None
    _type: Any = None

    @classmethod
    def register_type(cls, name: str | None = None) -> Callable[[type[Any]], type[Any]]:
        """Decorator for further kinds of signature."""

        def register(subclass: type[Any]) -> type[Any]:
            cls.TYPES[name or subclass.__name__] = subclass
            return subclass

        return register

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Any = None) -> Signature:
        """The signature of a dict, of the kind it names. Raises KeyError for a kind nobody registered."""
        kind = d.get("subtask_type")
        if kind and cls.TYPES[kind] is not cls:
            found: Signature = cls.TYPES[kind].from_dict(d, app=app)
            return found
        return Signature(d, app=app)

    def __init__(
        self,
        task: Any = None,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        type: Any = None,
        subtask_type: str | None = None,
        immutable: bool = False,
        app: Any = None,
        **more: Any,
    ) -> None:
        self._app = app
        if isinstance(task, Mapping):
            super().__init__(task)
            return
        name = task
        if not isinstance(task, (str, bytes)) and hasattr(task, "name"):
            name, self._type = task.name, task
        super().__init__(
            task=name,
            args=tuple(args or ()),
            kwargs=kwargs or {},
            options=dict(options or {}, **more),
            subtask_type=subtask_type,
            immutable=immutable,
        )

    # --- calling

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the task here and now."""
        args, kwargs, _ = self._merge(args, kwargs, None)
        return self.type(*args, **kwargs)

    def delay(self, *args: Any, **kwargs: Any) -> Any:
        """Sends it with these arguments before and beside its own."""
        return self.apply_async(args, kwargs)

    def apply(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Runs it here, as a worker would."""
        options = {name: value for name, value in options.items() if value is not None}
        args, kwargs, options = self._merge(args, kwargs, options)
        return self.type.apply(args, kwargs, **options)

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Sends it. Arguments come before its own, options over its own. Raises as `Task.apply_async`."""
        options = {name: value for name, value in options.items() if value is not None}
        options.pop("route_name", None)
        args, kwargs, options = self._merge(args, kwargs, options)
        task = self._type or self.app.tasks.get(self["task"])
        if task is None:
            return self.app.send_task(self["task"], args, kwargs, **options)
        return task.apply_async(args, kwargs, **options)

    def _merge(self, args: Any = None, kwargs: Any = None, options: Any = None, force: bool = False) -> Any:
        """Arguments and options with those given; `force` completes an immutable one as well."""
        own = self.options
        merged = own
        if options:
            kept = _KEPT.union(own.get("stamped_headers") or ())
            given = {name: value for name, value in options.items() if name not in kept or name not in own}
            merged = {**own, **given}
        if self.immutable and not force:
            return self.args, self.kwargs, merged
        return (
            (*args, *self.args) if args else self.args,
            {**self.kwargs, **kwargs} if kwargs else self.kwargs,
            merged,
        )

    def __invert__(self) -> Any:
        return self.apply_async().get()

    # --- variations

    def clone(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """A copy, completed by what is given. Arguments are shared, options are copied in depth."""
        args, kwargs, merged = self._merge(args, kwargs, options)
        fields = {
            "task": self.task,
            "args": tuple(args),
            "kwargs": dict(kwargs),
            "options": deepcopy(merged),
            "subtask_type": self.subtask_type,
            "immutable": self.immutable,
        }
        if "chord_size" in self:
            fields["chord_size"] = self["chord_size"]
        copy = Signature.from_dict(fields, app=self._app)
        copy._type = self._type
        return copy

    partial = clone

    def replace(self, args: Any = None, kwargs: Any = None, options: Any = None) -> Any:
        """A copy with other arguments or options in place of its own."""
        copy = self.clone()
        if args is not None:
            copy.args = args
        if kwargs is not None:
            copy.kwargs = kwargs
        if options is not None:
            copy.options = options
        return copy

    def set(self, immutable: bool | None = None, **options: Any) -> Any:
        """Changes options in place; returns itself."""
        if immutable is not None:
            self.set_immutable(immutable)
        self.options.update(options)
        return self

    def set_immutable(self, immutable: bool) -> None:
        """Whether it takes no further arguments."""
        self.immutable = immutable

    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> Any:
        """Gives it an id, in place, and returns the result it will have. It is to be sent once then.

        Args:
            group_id: Group it is a member of, and `group_index` its place there. Of a chain that is its last step, of a
                chord its body.
            chord: Body of the chord whose header it is a member of.
        """
        return self._frozen(_id, Place(group_id, chord, root_id, parent_id, group_index))

    _freeze = freeze

    def _frozen(self, task_id: str | None, place: Place) -> Any:
        """What `freeze` does for this kind of signature."""
        options = self.options
        found = options.get("task_id")
        if found is None:
            found = options["task_id"] = task_id or _native.uuid4()
        if place.root_id:
            options["root_id"] = place.root_id
        if place.parent_id:
            options["parent_id"] = place.parent_id
        if "reply_to" not in options:
            options["reply_to"] = self.app.thread_oid
        if place.group_id and "group_id" not in options:
            options["group_id"] = place.group_id
        if place.chord:
            options["chord"] = place.chord
        if place.group_index is not None:
            options["group_index"] = place.group_index
        return self.AsyncResult(found)

    # --- links

    def link(self, callback: Any) -> Any:
        """Has `callback` called with the result after success; returns it."""
        return self.append_to_list_option("link", callback)

    def link_error(self, errback: Any) -> Any:
        """Has `errback` called after failure; returns it."""
        return self.append_to_list_option("link_error", errback)

    def on_error(self, errback: Any) -> Any:
        """`link_error` that returns the signature itself."""
        self.link_error(errback)
        return self

    def _list_option(self, key: str) -> list[Any]:
        items = self.options.setdefault(key, [])
        if not isinstance(items, list):
            items = self.options[key] = as_list(items)
        return items

    def append_to_list_option(self, key: str, value: Any) -> Any:
        """Adds to an option that is a list, unless it is in there."""
        items = self._list_option(key)
        if value not in items:
            items.append(value)
        return value

    def extend_list_option(self, key: str, value: Any) -> None:
        """Adds all of a list."""
        self._list_option(key).extend(as_list(value))

    def flatten_links(self) -> list[Any]:
        """Itself, its callbacks, theirs, and so on."""
        links = (maybe_signature(link, app=self._app) for link in as_list(self.options.get("link")))
        return [self, *concatenated.from_iterable(link.flatten_links() for link in links)]

    # --- stamps

    def stamp(self, visitor: StampingVisitor | None = None, append_stamps: bool = False, **headers: Any) -> Any:
        """Adds stamps (named values that travel in the headers), those of `headers` and those the visitor returns.

        `append_stamps`: a stamp given twice becomes a list of both; otherwise the first stays, and a visitor's wins.
        """
        self.stamp_links(visitor, append_stamps, **headers)
        found = None if visitor is None else visitor.on_signature(self, **headers) or {}
        return self.set(**merge_stamps(headers, found, append_stamps, self.options))

    def _stamp_tasks(
        self, kind: str, tasks: Iterable[Any], visitor: StampingVisitor | None, append: bool, headers: dict[str, Any]
    ) -> list[Any]:
        """Stamps the links and the parts of a workflow, between the visitor's `on_<kind>_start` and `on_<kind>_end`."""
        found = None if visitor is None else getattr(visitor, f"on_{kind}_start")(self, **headers) or {}
        stamps = merge_stamps(headers, found, append, self.options)
        self.stamp_links(visitor, append, **stamps)
        stamped = [maybe_signature(task, app=self._app) for task in tasks]
        for task in stamped:
            task.stamp(visitor, append, **stamps)
        if visitor is not None:
            getattr(visitor, f"on_{kind}_end")(self, **stamps)
        return stamped

    def stamp_links(self, visitor: StampingVisitor | None, append_stamps: bool = False, **headers: Any) -> None:
        """Stamps its callbacks and errbacks."""
        for key, hook in (("link", "on_callback"), ("link_error", "on_errback")):
            links = [maybe_signature(link, app=self._app) for link in as_list(self.options.get(key))]
            if not links:
                continue
            for link in links:
                found = None if visitor is None else getattr(visitor, hook)(link, **headers) or {}
                link.stamp(visitor, append_stamps, **merge_stamps(deepcopy(headers), found, append_stamps, None))
            self.options[key] = links

    # --- combining

    def __or__(self, other: Any) -> Any:
        if not isinstance(other, Signature):
            return NotImplemented
        return self.TYPES["chain"].of_steps([self, other], self._app)

    def __ior__(self, other: Any) -> Any:
        return self.__or__(other)

    def __ror__(self, other: Any) -> Any:
        return NotImplemented

    # --- as a value

    def reprcall(self, *args: Any, **kwargs: Any) -> str:
        """The call as people write it."""
        args, kwargs, _ = self._merge(args, kwargs, {}, force=True)
        shown = [*(repr(arg) for arg in args), *(f"{name}={value!r}" for name, value in kwargs.items())]
        return f"{self['task']}({', '.join(shown)})"

    def __repr__(self) -> str:
        return self.reprcall()

    def __reduce__(self) -> Any:
        return signature, (dict(self),)

    def __json__(self) -> dict[str, Any]:
        return dict(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        copy: dict[str, Any] = dict(self)
        memo[id(self)] = copy
        # Arguments may be large, or not be fit for copying; options are what freezing changes.
        copy["options"] = deepcopy(self.options, memo)
        return copy

    __class_getitem__: Any = classmethod(GenericAlias)

    @property
    def name(self) -> Any:
        """The task's name."""
        return self.task

    @property
    def type(self) -> Any:
        """The task. Raises KeyError (NotRegistered) if it is not known here."""
        return self._type or self.app.tasks[self["task"]]

    @property
    def app(self) -> Any:
        """The application."""
        return self._app or _current.current_app()

    @property
    def AsyncResult(self) -> Any:
        """Makes a result of an id."""
        task = self._type or self.app.tasks.get(self["task"])
        return self.app.AsyncResult if task is None else task.AsyncResult


def signature(varies: Any, *args: Any, **kwargs: Any) -> Any:
    """A signature: of a task or its name with arguments, or of a dict that came off the wire.

    >>> signature("tasks.add", args=(2, 2), countdown=10)
    """
    app = kwargs.get("app")
    if isinstance(varies, Mapping):
        if isinstance(varies, Signature):
            return varies.clone()
        return Signature.from_dict(varies, app=app)
    return Signature(varies, *args, **kwargs)


subtask = signature


def maybe_signature(d: Any, app: Any = None, clone: bool = False) -> Any:
    """A signature of a signature (itself, or a copy with `clone`) or of the dict of one; None of None."""
    if d is None:
        return None
    if isinstance(d, Signature):
        if clone:
            d = d.clone()
    elif isinstance(d, Mapping):
        d = signature(d, app=app)
    if app is not None and isinstance(d, Signature):
        d._app = app
    return d
