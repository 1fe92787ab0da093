"""What every command shares: which app, which broker, how to print."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from umbel.cli.errors import USAGE, CommandError
from umbel.pools.app_finder import add_working_directory, find_app, suggest_module

if TYPE_CHECKING:
    from rich.console import Console

    from umbel.app import Umbel

#: Environment variables that stand for -A.
APP_VARIABLES = ("UMBEL_APP", "CELERY_APP")


@dataclass
class CliContext:
    """Options given before the command, or after it."""

    app_path: str | None = None
    broker: str | None = None
    result_backend: str | None = None
    no_color: bool = False
    quiet: bool = False
    #: The app itself, when a program runs the command line (`app.start()`).
    given_app: Umbel | None = None

    @property
    def console(self) -> Console:
        """For results; plain when it is no terminal."""
        from rich.console import Console

        return Console(no_color=self.no_color or None, highlight=False, soft_wrap=not Console().is_terminal)

    def apply_environment(self) -> None:
        """Hands -b and --result-backend to the app, which reads them from the environment, in children too."""
        if self.broker:
            for name in ("UMBEL_BROKER_URL", "UMBEL_BROKER_READ_URL", "UMBEL_BROKER_WRITE_URL"):
                os.environ[name] = self.broker
        if self.result_backend:
            os.environ["UMBEL_RESULT_BACKEND"] = self.result_backend

    def named_app(self) -> str | None:
        """What -A or the environment names."""
        if self.app_path:
            return self.app_path
        return next((os.environ[name] for name in APP_VARIABLES if os.environ.get(name)), None)

    def required_app(self) -> str:
        """The same, or an error that says how to name one."""
        path = self.named_app()
        if path:
            return path
        near = suggest_module()
        example = near or "proj"
        found = f" ({near}.py is here)" if near else ""
        raise CommandError(
            "no application was named",
            f"Name the module that holds it: umbel -A {example} COMMAND{found}, or set UMBEL_APP",
            exit_code=USAGE,
        )

    def app(self) -> Umbel:
        """The app; with only a broker given (-b or the environment), a bare one on that broker."""
        self.apply_environment()
        if self.given_app is not None:
            return self.given_app
        if self.named_app() is None and self._broker_known():
            from umbel.app import Umbel

            return Umbel("default")
        add_working_directory()
        app = find_app(self.required_app())
        for name in (*app.conf.imports, *app.conf.include):
            __import__(name)
        app.finalize()
        return app

    def _broker_known(self) -> bool:
        return any(os.environ.get(name) for name in ("UMBEL_BROKER_URL", "CELERY_BROKER_URL"))


class UmbelCommand(click.Command):
    """A command that also takes the general options after its name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        taken = {name for param in self.params for name in param.opts}
        for declarations, field, is_flag in _GENERAL_OPTIONS:
            left = [declaration for declaration in declarations if declaration not in taken]
            if left:
                option = click.Option(
                    [*left, f"late_{field}"], callback=_store(field), expose_value=False, hidden=True, is_flag=is_flag
                )
                self.params.append(option)


#: Options that may stand before or after the command, the field each fills, and whether it is a flag.
_GENERAL_OPTIONS = (
    (("-A", "--app"), "app_path", False),
    (("-b", "--broker"), "broker", False),
    (("--result-backend",), "result_backend", False),
    (("-C", "--no-color"), "no_color", True),
    (("-q", "--quiet"), "quiet", True),
)


def _store(field: str) -> Any:
    def callback(context: click.Context, _parameter: click.Parameter, value: str | bool | None) -> None:
        if value:
            setattr(cli_context(context), field, value)

    return callback


def cli_context(context: click.Context) -> CliContext:
    """The shared object of an invocation."""
    return context.ensure_object(CliContext)


pass_cli = click.make_pass_decorator(CliContext, ensure=True)
