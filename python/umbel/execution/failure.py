"""What is known of an exception a task raised: class, instance, traceback text."""

from __future__ import annotations

import traceback
from types import TracebackType

from umbel.exceptions import TaskRevokedError

__all__ = ["ExceptionInfo", "Revoked", "clear_frames"]


class Revoked(TaskRevokedError):
    """Raised in a task that was revoked while it ran, or in its place."""


class ExceptionInfo:
    """Celery's `einfo`, as hooks and signals receive it. The text is made when it is first wanted."""

    def __init__(self, exception: BaseException, internal: bool = False) -> None:
        self.type = type(exception)
        self.exception = exception
        self.tb: TracebackType | None = _without_library(exception.__traceback__)
        self.internal = internal
        self._text: str | None = None

    @property
    def traceback(self) -> str:
        """Python's text of the traceback, with a newline at the end."""
        if self._text is None:
            lines = traceback.format_exception(self.type, self.exception, self.tb)
            self._text = "".join(lines)
        return self._text

    @property
    def exc_info(self) -> tuple[type[BaseException], BaseException, TracebackType | None]:
        """As `sys.exc_info` has it, for logging."""
        return self.type, self.exception, self.tb

    def __str__(self) -> str:
        return self.traceback

    def __repr__(self) -> str:
        return f"<ExceptionInfo: {self.exception!r}>"


def _without_library(tb: TracebackType | None) -> TracebackType | None:
    """The traceback from the first frame outside this package, or all of it if there is none."""
    whole = tb
    while tb is not None and tb.tb_frame.f_globals.get("__name__", "").startswith("umbel.execution."):
        tb = tb.tb_next
    return tb or whole


def clear_frames(exception: BaseException) -> None:
    """Lets go of what the frames hold, which may be large and would live as long as the exception."""
    traceback.clear_frames(exception.__traceback__)
