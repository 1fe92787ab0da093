"""`umbel report`."""

from __future__ import annotations

import platform
import sqlite3
import sys
from importlib import metadata

import click

from umbel._native import __version__
from umbel.cli.context import CliContext, UmbelCommand, pass_cli
from umbel.pools.cpu_count import usable_cpus
from umbel.worker.banner import describe_url

_PACKAGES = ("celery", "kombu", "click", "rich", "msgpack", "pyyaml", "cloudpickle", "setproctitle")


@click.command(cls=UmbelCommand)
@pass_cli
def report(cli: CliContext) -> int:
    """Show versions and settings, for bug reports. Passwords are left out."""
    app = cli.app()
    lines = {
        "umbel": __version__,
        "python": f"{platform.python_implementation()} {platform.python_version()} ({sys.executable})",
        "system": f"{platform.platform()}, {usable_cpus()} CPUs usable",
        "sqlite": f"{sqlite3.sqlite_version} (Python's; the core has its own)",
        "packages": ", ".join(_installed()) or "none of the optional ones",
        "app": app.main or "default",
        "broker": describe_url(str(app.conf.broker_url), "none"),
        "results": describe_url(app.conf.result_backend, "not stored"),
        "tasks": str(len([name for name in app.tasks if not name.startswith(("celery.", "umbel."))])),
    }
    for label, text in lines.items():
        click.echo(f"{label:>10}  {text}")
    click.echo("\nsettings")
    click.echo("\n".join(f"  {line}" for line in app.conf.humanize().splitlines()) or "  all defaults")
    return 0


def _installed() -> list[str]:
    found = []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return found
