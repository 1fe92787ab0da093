"""`umbel call`."""

from __future__ import annotations

import contextlib
import json
from datetime import datetime
from typing import Any

import click

from umbel.cli.context import CliContext, UmbelCommand, pass_cli
from umbel.cli.result import show_result


def parse_args(_ctx: click.Context, _param: click.Parameter, value: str | None) -> list[Any]:
    """The positional arguments: a JSON list."""
    return list(_json(value, list, "a list", "'[2, 3]'"))


def parse_kwargs(_ctx: click.Context, _param: click.Parameter, value: str | None) -> dict[str, Any]:
    """The keyword arguments: a JSON object."""
    return dict(_json(value, dict, "an object", "'{\"x\": 2}'"))


def parse_moment(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | datetime | None:
    """Seconds from now, or an ISO 8601 time."""
    if value is None:
        return None
    with contextlib.suppress(ValueError):
        return float(value)
    try:
        return datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither seconds nor a time such as 2030-01-31T12:00+00:00") from None


def _json(value: str | None, wanted: type, name: str, example: str) -> Any:
    if value is None:
        return wanted()
    try:
        parsed = json.loads(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not JSON ({error}); for example {example}") from None
    if not isinstance(parsed, wanted):
        raise click.BadParameter(f"{value!r} must be {name} in JSON; for example {example}")
    return parsed


@click.command(cls=UmbelCommand)
@click.argument("name")
@click.option("-a", "--args", "args", metavar="JSON", callback=parse_args, help="Positional arguments.")
@click.option("-k", "--kwargs", "kwargs", metavar="JSON", callback=parse_kwargs, help="Keyword arguments.")
@click.option("--eta", metavar="SECONDS|TIME", callback=parse_moment, help="Run it then.")
@click.option("--countdown", type=float, help="Run it after SECONDS.")
@click.option("--expires", metavar="SECONDS|TIME", callback=parse_moment, help="Do not run it later than that.")
@click.option("--serializer", metavar="NAME", help="json, msgpack, yaml, pickle [the task's].")
@click.option("--queue", metavar="NAME", help="Queue [the task's route].")
@click.option("--exchange", metavar="NAME", help="Exchange.")
@click.option("--routing-key", metavar="KEY", help="Routing key.")
@click.option("--priority", type=click.IntRange(0, 255), help="Priority (on Redis 0 goes first).")
@click.option("-w", "--wait", is_flag=True, help="Wait for the result and show it.")
@click.option("--timeout", type=float, help="Wait at most SECONDS.")
@pass_cli
def call(
    cli: CliContext,
    /,
    name: str,
    args: list[Any],
    kwargs: dict[str, Any],
    eta: float | datetime | None,
    wait: bool,
    timeout: float | None,
    **options: Any,
) -> int:
    """Send the task NAME and print its id.

    \b
    umbel -A proj call proj.add -a '[2, 3]' --wait
    umbel -A proj call proj.report -k '{"day": "monday"}' --countdown 60
    """
    app = cli.app()
    if isinstance(eta, float):
        options["countdown"], eta = eta, None
    given = {key: value for key, value in {**options, "eta": eta}.items() if value is not None}
    sent = app.send_task(name, args=args, kwargs=kwargs, **given)
    click.echo(sent.id)
    return show_result(cli, sent, timeout) if wait else 0
