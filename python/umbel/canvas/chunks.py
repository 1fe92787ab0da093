"""`xmap`, `xstarmap`, `chunks`: one task over many arguments, in place or in parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, ClassVar

from umbel.canvas.group import group
from umbel.canvas.signature import Signature

__all__ = ["chunks", "xmap", "xstarmap"]


class _Map(Signature):
    """A call of one task for each item, in one message."""

    _task_name: ClassVar[str]

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Any = None) -> Any:
        """The map of a dict."""
        return cls(d["kwargs"]["task"], d["kwargs"]["it"], app=app, **d["options"])

    def __init__(self, task: Any, it: Iterable[Any], **options: Any) -> None:
        super().__init__(self._task_name, (), {"task": task, "it": list(it)}, immutable=True, **options)


@Signature.register_type()
class xmap(_Map):
    """`[task(x) for x in it]` as one call."""

    _task_name = "celery.map"

    def __repr__(self) -> str:
        return f"[{self.kwargs['task']['task']}(x) for x in {self.kwargs['it']!r:.100}]"


@Signature.register_type()
class xstarmap(_Map):
    """`[task(*x) for x in it]` as one call."""

    _task_name = "celery.starmap"

    def __repr__(self) -> str:
        return f"[{self.kwargs['task']['task']}(*x) for x in {self.kwargs['it']!r:.100}]"


@Signature.register_type()
class chunks(Signature):
    """A `starmap` of `n` items at a time: a group of calls with a part of the items each."""

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Any = None) -> Any:
        """The chunks of a dict."""
        fields = d["kwargs"]
        return cls(fields["task"], fields["it"], fields["n"], app=app, **d["options"])

    def __init__(self, task: Any, it: Iterable[Any], n: int, **options: Any) -> None:
        fields = {"task": task, "it": list(it), "n": n}
        super().__init__("celery.chunks", (), fields, immutable=True, **options)

    def __call__(self, **options: Any) -> Any:
        """Sends them."""
        return self.apply_async(**options)

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Sends them as a group."""
        return self.group().apply_async(args, kwargs, **options)

    def apply(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Runs them here."""
        return self.group().apply(args, kwargs, **options)

    def group(self) -> group:
        """The group they are."""
        items = iter(self.kwargs["it"])
        parts = iter(lambda: list(islice(items, self.kwargs["n"])), [])
        return group([xstarmap(self.kwargs["task"], part, app=self._app) for part in parts], app=self._app)

    @classmethod
    def apply_chunks(cls, task: Any, it: Iterable[Any], n: int, app: Any = None) -> Any:
        """Makes and sends them."""
        return cls(task, it, n, app=app)()
