"""`Outbox`: collects the messages of a workflow, so that they go out together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from umbel._interfaces import PreparedMessage

__all__ = ["Outbox", "outbox_of"]


class Outbox:
    """Given as `producer` to `apply_async`: the message is put here in place of being published.

    Inside a worker it becomes part of the running task's outcome; elsewhere `publish` sends all in a few steps.
    """

    def __init__(self) -> None:
        self.messages: list[PreparedMessage] = []

    def add_message(self, message: PreparedMessage) -> None:
        """Takes a message."""
        self.messages.append(message)

    def publish(self, app: Any, **options: Any) -> None:
        """Sends what was collected, in order. Options: `retry`, `retry_policy`. Raises OperationalError."""
        messages, self.messages = self.messages, []
        app.sender.publish_many(messages, options.get("retry"), options.get("retry_policy"))


def outbox_of(options: dict[str, Any]) -> tuple[Outbox, bool]:
    """The outbox among the options, taken out; a new one, and True, if there is none."""
    given = options.pop("producer", None)
    return (given, False) if isinstance(given, Outbox) else (Outbox(), True)
