"""`umbel queues`."""

from __future__ import annotations

import click
from rich.box import SIMPLE_HEAD
from rich.table import Table

from umbel.cli.context import CliContext, UmbelCommand, pass_cli
from umbel.cli.worker import split_names
from umbel.config import hide_password
from umbel.pools.description import consumed_queues
from umbel.routing import queues_from_conf


@click.command(cls=UmbelCommand)
@click.option(
    "-Q",
    "--queues",
    "names",
    metavar="NAMES",
    callback=split_names,
    help="Only these, with commas.",
)
@pass_cli
def queues(cli: CliContext, /, names: tuple[str, ...]) -> int:
    """Show how many messages wait in each queue. Those that workers hold are not counted."""
    app = cli.app()
    chosen = consumed_queues(queues_from_conf(app.conf), names)
    table = Table(title=f"Queues on {hide_password(str(app.conf.broker_url))}", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("queue")
    table.add_column("waiting", justify="right")
    for queue in chosen:
        table.add_row(queue["name"], f"{app.client.queue_length(queue['name'])}")
    cli.console.print(table)
    return 0
