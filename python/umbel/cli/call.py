"""`umbel call`."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import click

from umbel.cli.context import CliContext, UmbelCommand, pass_cli
from umbel.cli.result import show_result


class Json(click.ParamType):
    """A JSON value of one type."""

    name = "JSON"

    def __init__(self, wanted: type, example: str) -> None:
        self._wanted = wanted
        self._example = example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, self._wanted):
            return value
        try:
            parsed = json.loads(value)
        except ValueError as error:
            self.fail(f"{value!r} is not JSON ({error}); for example {self._example}", param, ctx)
        if not isinstance(parsed, self._wanted):
            self.fail(f"{value!r} must be a JSON {_NAMES[self._wanted]}; for example {self._example}", param, ctx)
        return parsed


class Moment(click.ParamType):
    """Seconds from now, or an ISO 8601 time."""

    name = "SECONDS|TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | datetime:
        if isinstance(value, (float, datetime)):
            return value
        try:
            return float(value)
        except ValueError:
            pass
        try:
            return datetime.fromisoformat(value.replace("Z", "+00:00"))
        except ValueError:
            self.fail(f"{value!r} is neither seconds nor a time such as 2030-01-31T12:00:00+00:00", param, ctx)


_NAMES: dict[type, str] = {list: "list", dict: "object"}


@click.command(cls=UmbelCommand)
@click.argument("name")
@click.option("-a", "--args", "args", type=Json(list, "'[2, 3]'"), default=list, help="Positional arguments.")
@click.option("-k", "--kwargs", "kwargs", type=Json(dict, "'{\"x\": 2}'"), default=dict, help="Keyword arguments.")
@click.option("--eta", type=Moment(), help="Run it then.")
@click.option("--countdown", type=float, help="Run it after SECONDS.")
@click.option("--expires", type=Moment(), help="Do not run it later than that.")
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
