"""`umbel shell`."""

from __future__ import annotations

import code
import importlib
from typing import Any

import click

import umbel as umbel_package
from umbel.cli.context import CliContext, UmbelCommand, pass_cli
from umbel.cli.errors import USAGE, CommandError


@click.command(cls=UmbelCommand)
@click.option("-I", "--ipython", "wanted", flag_value="ipython", help="Use IPython.")
@click.option("-P", "--python", "wanted", flag_value="python", help="Use Python's own shell.")
@click.option("-T", "--without-tasks", is_flag=True, help="Do not put the tasks' names into the shell.")
@pass_cli
def shell(cli: CliContext, wanted: str | None, without_tasks: bool) -> int:
    """Start a Python shell with the app and its tasks: IPython if it is installed."""
    app = cli.app()
    names: dict[str, Any] = {"app": app, "celery": app, "umbel": umbel_package}
    if not without_tasks:
        names.update(
            {
                name.rpartition(".")[2]: task
                for name, task in app.tasks.items()
                if not name.startswith(("celery.", "umbel."))
            }
        )
    if wanted != "python" and _ipython(names, required=wanted == "ipython"):
        return 0
    code.interact(_banner(names), local=names, exitmsg="")
    return 0


def _ipython(names: dict[str, Any], required: bool) -> bool:
    try:
        embed = importlib.import_module("IPython").embed
    except ImportError:
        if required:
            raise CommandError("IPython is not installed", "pip install ipython", exit_code=USAGE) from None
        return False
    embed(user_ns=names, banner1=_banner(names))
    return True


def _banner(names: dict[str, Any]) -> str:
    return f"umbel {umbel_package.__version__}. In here: {', '.join(names)}"
