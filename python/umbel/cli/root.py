"""`umbel` itself: the options before the command, and the commands."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from umbel._native import __version__
from umbel.cli.context import CliContext, cli_context
from umbel.cli.errors import as_command_error, nearest, show

if TYPE_CHECKING:
    from umbel.app import Umbel

#: Command to the line shown in the list; the module has the command's name.
COMMANDS = {
    "worker": "Run a worker.",
    "call": "Send a task by name.",
    "result": "Show the result of a task.",
    "queues": "Show how many messages wait in each queue.",
    "dead": "List, show, replay or purge dead letters.",
    "purge": "Erase all waiting messages of queues.",
    "report": "Show versions and settings, for bug reports.",
    "shell": "Start a Python shell with the app and its tasks.",
}

#: Commands of Celery's that are missing here; `docs/celery-parity.md` says when they come.
NOT_YET = frozenset(
    [
        "amqp",
        "beat",
        "control",
        "events",
        "graph",
        "inspect",
        "list",
        "logtool",
        "migrate",
        "multi",
        "status",
        "upgrade",
    ]
)


class LazyGroup(click.Group):
    """Imports a command when it is used, so that each starts as fast as it can."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(f"umbel.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            if args[0] in NOT_YET:
                raise click.UsageError(f"Celery's command {args[0]!r} is not part of this version of Umbel", ctx)
            near = nearest(args[0], list(COMMANDS))
            hint = f"; did you mean {near}?" if near else f"; commands are {', '.join(COMMANDS)}"
            raise click.UsageError(f"there is no command {args[0]!r}{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-A", "--app", metavar="MODULE", help="Where the app is: proj, proj.tasks or proj:app. Also UMBEL_APP.")
@click.option("-b", "--broker", metavar="URL", help="Broker instead of the app's: sqlite:///file, redis://host/0.")
@click.option("--result-backend", metavar="URL", help="Result store instead of the app's.")
@click.option("--workdir", metavar="DIR", help="Change to this directory first.")
@click.option("--loader", metavar="NAME", hidden=True, help="Accepted for Celery's sake.")
@click.option("--config", metavar="MODULE", help="Module with settings, for an app that loads none.")
@click.option("-C", "--no-color", is_flag=True, help="No colours.")
@click.option("-q", "--quiet", is_flag=True, help="No banner, fewer messages.")
@click.option("--skip-checks", is_flag=True, hidden=True, help="Accepted for Celery's sake.")
@click.version_option(__version__, "-V", "--version", prog_name="umbel", message="%(prog)s %(version)s")
@click.pass_context
def umbel(
    context: click.Context,
    app: str | None,
    broker: str | None,
    result_backend: str | None,
    workdir: str | None,
    loader: str | None,
    config: str | None,
    no_color: bool,
    quiet: bool,
    skip_checks: bool,
) -> None:
    """Umbel, a task queue: Celery's API with a Rust core.

    \b
    umbel -A proj worker -l info          run a worker for the app in proj
    umbel -A proj call proj.add -a '[2, 3]'
    """
    shared = cli_context(context)
    shared.app_path = app or shared.app_path
    shared.broker = broker
    shared.result_backend = result_backend
    shared.no_color = no_color
    shared.quiet = quiet
    if no_color:
        os.environ["NO_COLOR"] = "1"
    if config:
        os.environ["CELERY_CONFIG_MODULE"] = config
    if workdir:
        try:
            os.chdir(workdir)
        except OSError as error:
            raise click.BadParameter(f"{workdir}: {error.strerror}", context, param_hint="--workdir") from None


def main(argv: Sequence[str] | None = None, app: Umbel | None = None) -> int:
    """Runs the command line and returns the exit status: 0, 1 for a failure, 2 for wrong usage.

    Args:
        argv: Arguments without the program's name; those of the process by default.
        app: The app to use when none is named.
    """
    try:
        status: Any = umbel.main(
            args=list(sys.argv[1:] if argv is None else argv),
            prog_name="umbel",
            standalone_mode=False,
            obj=CliContext(given_app=app),
        )
    except click.Abort:
        click.echo("Aborted.", err=True)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        command_error = as_command_error(error)
        if command_error is None:
            raise
        show(command_error)
        return command_error.status
    return status if isinstance(status, int) else 0
