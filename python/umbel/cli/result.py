"""`umbel result`."""

from __future__ import annotations

from typing import Any

import click

from umbel.cli.context import CliContext, UmbelCommand, pass_cli
from umbel.cli.errors import CommandError
from umbel.exceptions import TimeoutError as ResultTimeoutError


@click.command(cls=UmbelCommand)
@click.argument("task_id")
@click.option("-t", "--task", metavar="NAME", help="Name of the task (not needed).")
@click.option("--traceback", is_flag=True, help="Show the traceback of a failed task instead.")
@click.option("-w", "--wait", is_flag=True, help="Wait until it has finished.")
@click.option("--timeout", type=float, help="Wait at most SECONDS.")
@pass_cli
def result(cli: CliContext, task_id: str, task: str | None, traceback: bool, wait: bool, timeout: float | None) -> int:
    """Show the result of a task by its id. The exit status is 1 if the task failed."""
    found = cli.app().AsyncResult(task_id)
    if traceback and not wait:
        click.echo(found.traceback or f"no traceback: the task is {found.state}")
        return 0
    if wait:
        return show_result(cli, found, timeout)
    state = found.state
    if state == "PENDING":
        raise CommandError(
            f"no result for {task_id}: it has not run yet, it has expired, or the id is wrong",
            "Use --wait to wait for it",
        )
    if state == "SUCCESS":
        cli.console.print(found.result)
        return 0
    if not found.ready():
        cli.console.print(f"{state}: {found.info!r}")
        return 0
    return _show_failure(found)


def show_result(cli: CliContext, pending: Any, timeout: float | None) -> int:
    """Waits for a result and prints it; returns the exit status."""
    try:
        value = pending.get(timeout=timeout, propagate=False)
    except ResultTimeoutError:
        raise CommandError(
            f"task {pending.id} has not finished within {timeout:g} s",
            f"Is a worker running? Ask again: umbel result {pending.id}",
        ) from None
    if pending.state == "SUCCESS":
        cli.console.print(value)
        return 0
    return _show_failure(pending)


def _show_failure(found: Any) -> int:
    error = found.result
    if found.traceback:
        click.echo(str(found.traceback).rstrip(), err=True)
    raise CommandError(f"task {found.id} is {found.state}: {type(error).__name__}: {error}")
