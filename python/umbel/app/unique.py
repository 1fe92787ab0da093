"""Tasks of which only one is sent at a time (`unique=True`), or only the last one (`debounce=`).

The broker keeps a lock under a name made of the task's name and its arguments. It is taken in the step in which the
message is published, and given up when the task ends (or starts), or when its time is over.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from umbel import _native
from umbel.app.clock import timestamp
from umbel.exceptions import DuplicateTaskError, ImproperlyConfigured, from_native
from umbel.result import AsyncResult

if TYPE_CHECKING:
    from umbel.app.app import Umbel
    from umbel.app.building import Prepared
    from umbel.task import Task

__all__ = ["HEADER", "Uniqueness", "uniqueness_of"]

#: Tells the worker which lock to give up, and when: `end:<name>` or `start:<name>`.
HEADER = "umbel_unique"

#: Which arguments count: names of parameters, or a function of the arguments; None: all.
Key = Sequence[str] | Callable[..., Any] | None


@dataclass(frozen=True)
class Uniqueness:
    """What one task's options say."""

    task: Task[..., Any]
    key: Key
    life: float
    #: `end`, `start` or `window`.
    until: str
    #: `existing`, `raise` or `replace`.
    on_duplicate: str
    #: Seconds; 0: none.
    debounce: float = 0.0

    def lock(self, args: Any, kwargs: Any) -> str:
        """The name of the lock of a call. Raises TypeError for arguments that do not fit or cannot be compared."""
        chosen = self._chosen(tuple(args or ()), dict(kwargs or {}))
        try:
            text = json.dumps(chosen, sort_keys=True, default=repr)
        except (TypeError, ValueError) as error:
            raise TypeError(f"The unique key of {self.task.name} cannot be written: {error}") from error
        return f"{self.task.name}:{sha256(text.encode()).hexdigest()[:32]}"

    def _chosen(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if callable(self.key):
            return self.key(*args, **kwargs)
        given = self._bound(args, kwargs)
        if self.key is None:
            return given
        unknown = [name for name in self.key if name not in given]
        if unknown:
            raise TypeError(f"unique_key of {self.task.name} names no parameter: {', '.join(unknown)}")
        return {name: given[name] for name in self.key}

    def _bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Arguments by parameter, with defaults: however they are given, the same call is the same."""
        signature = inspect.signature(self.task.run)
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return dict(bound.arguments)

    @staticmethod
    def is_meant(options: dict[str, Any]) -> bool:
        """Whether a call is checked: a member of a workflow is not, for the others wait for it."""
        return not (options.get("group_id") or options.get("chord") or hasattr(options.get("producer"), "add_message"))

    def options(self, options: dict[str, Any]) -> dict[str, Any]:
        """Options of a call: a debounced one waits, unless it says itself how long."""
        if self.debounce and not options.get("countdown") and not options.get("eta"):
            return {**options, "countdown": self.debounce}
        return options

    def publish(self, app: Umbel, prepared: Prepared, lock: str, bounds: Sequence[Any]) -> AsyncResult[Any] | None:
        """Publishes the call, unless another has the lock: then that one's result, or DuplicateTaskError."""
        message: Any = prepared.message
        if self.until != "window":
            message["headers"] = {**message["headers"], HEADER: f"{self.until}:{lock}"}
        wait = max(0.0, (message.get("eta") or 0.0) - timestamp())
        try:
            word, other = app.client.publish_once(
                message, lock, prepared.task_id, self.life + wait, self.on_duplicate == "replace", *bounds
            )
        except _native.NativeError as error:
            raise from_native(error) from error
        if word == "refused":
            if self.on_duplicate == "raise":
                raise DuplicateTaskError(self.task.name, other or "")
            return AsyncResult(other or "", task_name=self.task.name, app=app)
        if other:
            app.control.revoke(other)
        return None


def uniqueness_of(task: Any) -> Uniqueness | None:
    """What a task's options say; None if it may be sent at any time. Raises ImproperlyConfigured."""
    debounce = float(task.debounce or 0.0)
    if not (task.unique or debounce):
        return None
    # A debounced task that has started is not to be replaced: what is sent then is another one.
    until = task.unique_until or ("start" if debounce else "end")
    on_duplicate = task.unique_on_duplicate or ("replace" if debounce else "existing")
    _one_of(task, "unique_until", until, ("end", "start", "window"))
    _one_of(task, "unique_on_duplicate", on_duplicate, ("existing", "raise", "replace"))
    if not task.unique_for or task.unique_for <= 0:
        raise ImproperlyConfigured(f"Task {task.name}: unique_for takes seconds above 0, not {task.unique_for!r}")
    # As it was given: a function among a class' attributes would get the task as its first argument.
    key = inspect.getattr_static(task, "unique_key")
    key = key.__func__ if isinstance(key, staticmethod) else key
    return Uniqueness(task, key, float(task.unique_for), until, on_duplicate, debounce)


def _one_of(task: Any, name: str, value: Any, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ImproperlyConfigured(f"Task {task.name}: {name} is one of {', '.join(choices)}, not {value!r}")
