"""Tasks of which only one is sent at a time (`unique=True`), or only the last one (`debounce=`).

The broker keeps a lock under a name made of the task's name and its arguments. It is taken in the step in which the
message is published, and given up when the task ends (or starts), or when its time is over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from umbel import _native
from umbel.app.clock import timestamp
from umbel.app.keys import CallKey
from umbel.exceptions import DuplicateTaskError, ImproperlyConfigured, from_native
from umbel.result import AsyncResult

if TYPE_CHECKING:
    from umbel.app.app import Umbel
    from umbel.app.building import Prepared
    from umbel.task import Task

__all__ = ["HEADER", "Uniqueness", "uniqueness_of"]

#: Tells the worker which lock to give up, and when: `end:<name>` or `start:<name>`.
HEADER = "umbel_unique"


@dataclass(frozen=True)
class Uniqueness:
    """What one task's options say."""

    task: Task[..., Any]
    #: Which calls are the same.
    key: CallKey
    life: float
    #: `end`, `start` or `window`.
    until: str
    #: `existing`, `raise` or `replace`.
    on_duplicate: str
    #: Seconds; 0: none.
    debounce: float = 0.0

    def lock(self, args: Any, kwargs: Any) -> str:
        """The name of the lock of a call. Raises TypeError for arguments that do not fit or cannot be compared."""
        return f"{self.task.name}:{self.key.digest(args, kwargs)}"

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
    return Uniqueness(task, CallKey.of(task, "unique_key"), float(task.unique_for), until, on_duplicate, debounce)


def _one_of(task: Any, name: str, value: Any, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ImproperlyConfigured(f"Task {task.name}: {name} is one of {', '.join(choices)}, not {value!r}")
