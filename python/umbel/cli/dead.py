"""`umbel dead`: messages that could not be run, kept with the reason."""

from __future__ import annotations

import base64
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table
from rich.text import Text

from umbel.cli.context import CliContext, UmbelCommand, pass_cli
from umbel.cli.errors import USAGE, CommandError

if TYPE_CHECKING:
    from umbel._native import DeadLetterDict

_PAGE = 50
_SHOWN_BODY = 4000


@click.group(cls=click.Group)
def dead() -> None:
    """List, show, replay or purge dead letters.

    A message becomes a dead letter when it cannot be read, names an unknown task, was rejected, or killed its worker
    more often than task_max_deliveries. Nothing is thrown away without a command of yours.
    """


@dead.command("list", cls=UmbelCommand)
@click.option("-n", "--limit", type=click.IntRange(min=1), default=_PAGE, show_default=True, help="Show so many.")
@click.option("--offset", type=click.IntRange(min=0), default=0, help="Skip so many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@pass_cli
def list_letters(cli: CliContext, limit: int, offset: int, as_json: bool) -> int:
    """List dead letters, the newest first."""
    letters = cli.app().client.dead_letters(offset, limit)
    if as_json:
        for letter in letters:
            click.echo(json.dumps(_as_json(letter), default=str))
        return 0
    if not letters:
        click.echo("No dead letters.")
        return 0
    table = Table(box=None, pad_edge=False)
    for name in ("id", "when", "queue", "task", "kind", "reason"):
        table.add_column(name, overflow="fold")
    for letter in letters:
        cells = (letter["id"], _moment(letter["at"]), letter["queue"], _task(letter), letter["kind"], letter["reason"])
        table.add_row(*(Text(cell) for cell in cells))
    cli.console.print(table)
    if len(letters) == limit:
        click.echo(f"There may be more: --offset {offset + limit}")
    return 0


@dead.command(cls=UmbelCommand)
@click.argument("id")
@pass_cli
def show(cli: CliContext, id: str) -> int:
    """Show one dead letter with its headers and body."""
    letter = cli.app().client.dead_letter(id)
    if letter is None:
        raise _unknown(id)
    for label in ("id", "queue", "kind", "reason"):
        click.echo(f"{label:>12}  {letter[label]}")
    click.echo(f"{'when':>12}  {_moment(letter['at'])}")
    click.echo(f"{'task':>12}  {_task(letter)}")
    click.echo(f"{'content':>12}  {letter['content_type'] or '?'}, {letter['content_encoding'] or '?'}")
    for part in ("headers", "properties"):
        click.echo(f"\n{part}")
        click.echo(json.dumps(letter[part], indent=2, default=str))
    click.echo(f"\nbody, {len(letter['body'])} bytes")
    click.echo(_body(letter["body"]))
    return 0


@dead.command(cls=UmbelCommand)
@click.argument("ids", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All of them.")
@pass_cli
def replay(cli: CliContext, ids: tuple[str, ...], everything: bool) -> int:
    """Put dead letters back into their queues."""
    client = cli.app().client
    chosen = list(ids)
    if everything:
        # In pages: what is replayed leaves the list.
        count = 0
        while page := [letter["id"] for letter in client.dead_letters(0, _PAGE)]:
            moved = client.dead_replay(page)
            count += moved
            if not moved:
                break
    else:
        _require_choice(chosen, "replay")
        count = client.dead_replay(chosen)
        if not count:
            raise _unknown(", ".join(chosen))
    click.echo(f"Replayed {count} message{'' if count == 1 else 's'}.")
    return 0


@dead.command(cls=UmbelCommand)
@click.argument("ids", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All of them.")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@pass_cli
def purge(cli: CliContext, ids: tuple[str, ...], everything: bool, force: bool) -> int:
    """Erase dead letters. There is no way back."""
    client = cli.app().client
    if not everything:
        _require_choice(list(ids), "purge")
    if not force:
        click.confirm(f"Erase {'all' if everything else len(ids)} dead letters?", abort=True)
    count = client.dead_purge(None if everything else list(ids))
    if not everything and not count:
        raise _unknown(", ".join(ids))
    click.echo(f"Erased {count} dead letter{'' if count == 1 else 's'}.")
    return 0


def _require_choice(ids: list[str], verb: str) -> None:
    if not ids:
        raise CommandError(f"nothing to {verb}", "Name ids from: umbel dead list, or use --all", exit_code=USAGE)


def _unknown(ids: str) -> CommandError:
    return CommandError(f"there is no dead letter {ids}", "See: umbel dead list")


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _task(letter: DeadLetterDict) -> str:
    headers = letter["headers"] or {}
    name, task_id = headers.get("task"), headers.get("id")
    return f"{name or '?'}[{task_id}]" if name or task_id else "?"


def _body(body: bytes) -> str:
    try:
        text = body[:_SHOWN_BODY].decode()
    except UnicodeDecodeError:
        text = repr(body[:_SHOWN_BODY])
    return text if len(body) <= _SHOWN_BODY else f"{text}... ({len(body) - _SHOWN_BODY} bytes more)"


def _as_json(letter: DeadLetterDict) -> dict[str, Any]:
    return {**letter, "body": base64.b64encode(letter["body"]).decode()}
