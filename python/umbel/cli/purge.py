"""`umbel purge`."""

from __future__ import annotations

import click

from umbel.cli.context import CliContext, UmbelCommand, pass_cli
from umbel.cli.worker import split_names
from umbel.config import hide_password
from umbel.pools.description import consumed_queues
from umbel.routing import queues_from_conf


@click.command(cls=UmbelCommand)
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.option(
    "-Q",
    "--queues",
    "names",
    metavar="NAMES",
    callback=split_names,
    help="Only these, with commas.",
)
@click.option("-X", "--exclude-queues", metavar="NAMES", callback=split_names, help="Not these.")
@pass_cli
def purge(cli: CliContext, /, force: bool, names: tuple[str, ...], exclude_queues: tuple[str, ...]) -> int:
    """Erase all waiting messages of queues. There is no way back.

    Messages that workers hold, delayed messages and dead letters stay.
    """
    app = cli.app()
    chosen = [queue["name"] for queue in consumed_queues(queues_from_conf(app.conf), names, exclude_queues)]
    if not force:
        where = hide_password(str(app.conf.broker_url))
        click.confirm(f"Erase all messages of {', '.join(chosen)} on {where}?", abort=True)
    erased = sum(app.client.purge(name) for name in chosen)
    if not cli.quiet:
        click.echo(f"Erased {erased} message{'' if erased == 1 else 's'} from {', '.join(chosen)}.")
    return 0
