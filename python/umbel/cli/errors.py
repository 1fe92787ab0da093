"""How errors are shown: a red line that says what happened, one that says what to do."""

from __future__ import annotations

import difflib

import click

from umbel._native import NativeError
from umbel.exceptions import ImproperlyConfigured, OperationalError, QueueNotFound, from_native
from umbel.pools.app_finder import AppNotFoundError
from umbel.worker.pidfile import PidFileTakenError

FAILURE = 1
USAGE = 2


class CommandError(click.ClickException):
    """A command could not do its work. `hint` says what to do."""

    def __init__(self, message: str, hint: str = "", detail: str = "", exit_code: int = FAILURE) -> None:
        super().__init__(message)
        self.hint = hint
        self.detail = detail
        self.status = exit_code


def as_command_error(error: Exception) -> CommandError | None:
    """The errors that a user can mend, as one to show; None for others, which keep their traceback."""
    if isinstance(error, CommandError):
        return error
    if isinstance(error, click.UsageError):
        return CommandError(error.format_message(), _usage_hint(error), exit_code=USAGE)
    if isinstance(error, click.ClickException):
        return CommandError(error.format_message(), exit_code=error.exit_code)
    if isinstance(error, AppNotFoundError):
        return CommandError(error.message, error.hint, error.detail, FAILURE if error.detail else USAGE)
    if isinstance(error, NativeError):
        error = from_native(error)
    if isinstance(error, OperationalError):
        return CommandError(str(error), "Is the server running, and is the URL right? (-b, broker_url)")
    if isinstance(error, (ImproperlyConfigured, QueueNotFound)):
        return CommandError(str(error.args[0] if error.args else error), "Correct it in the app's settings or options")
    if isinstance(error, PidFileTakenError):
        return CommandError(str(error), "Stop that worker first, or use another --pidfile")
    if isinstance(error, OSError) and error.filename:
        return CommandError(f"{error.filename}: {error.strerror}")
    return None


def show(error: CommandError) -> None:
    """Prints it to stderr; colours only on a terminal."""
    if error.detail:
        click.secho(error.detail, err=True, dim=True)
    click.secho(f"Error: {error.message}", err=True, fg="red", bold=True)
    if error.hint:
        click.echo(f"  {error.hint}", err=True)


def nearest(word: str, known: list[str]) -> str | None:
    """The known word that `word` may be a slip of."""
    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=0.6)), None)


def _usage_hint(error: click.UsageError) -> str:
    context = error.ctx
    if context is None:
        return ""
    return f"See {context.command_path} --help"
