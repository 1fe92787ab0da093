"""What commands there are, and what they may use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from umbel._native import TaskDict, Worker
    from umbel.pools.description import AppDescription

Handler = Callable[..., Any]
H = TypeVar("H", bound=Handler)

#: Commands by name.
PANEL: dict[str, Handler] = {}


@dataclass
class WorkerState:
    """A worker, for its commands."""

    node: str
    engine: Worker
    app: AppDescription
    #: Lamport clock: later than everything heard.
    clock: int = 0

    def change_task(self, name: str, **options: Any) -> bool:
        """Changes options of a task as the engine knows it; False if there is no such task.

        It holds for messages that are received from then on.
        """
        task: TaskDict | None = next((task for task in self.app.tasks if task["name"] == name), None)
        if task is None:
            return False
        task.update(options)  # type: ignore[typeddict-item]
        self.engine.set_tasks(self.app.tasks)
        return True


def control_command(function: H) -> H:
    """Makes a command of a function `(state, **arguments) -> answer`, under the function's name."""
    PANEL[function.__name__] = function
    return function


def ok(value: Any) -> dict[str, Any]:
    """The answer of a command that worked."""
    return {"ok": value}


def error(value: Any) -> dict[str, Any]:
    """The answer of a command that did not."""
    return {"error": value}
