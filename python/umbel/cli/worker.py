"""`umbel worker`."""

from __future__ import annotations

import logging
import os

import click

from umbel.cli.context import CliContext, UmbelCommand, pass_cli
from umbel.exceptions import ImproperlyConfigured

AT_LEAST_ONE = click.IntRange(min=1)
POSITIVE = click.FloatRange(min=0, min_open=True)
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "FATAL")


class PoolName(click.Choice[str]):
    """One of the names, or the path of a class."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Paths are looked at by whoever imports them."""
        return value if "." in value or ":" in value else super().convert(value, param, ctx)


def split_names(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Names with commas between them, as an option's callback."""
    return tuple(name.strip() for name in (value or "").split(",") if name.strip())


@click.command(cls=UmbelCommand)
@click.option("-n", "--hostname", metavar="NAME", help="Node name: w1, w1@%h (%h host, %n its first part, %d domain).")
@click.option("-c", "--concurrency", type=AT_LEAST_ONE, metavar="N", help="Tasks run at once [usable CPUs].")
@click.option(
    "-P",
    "--pool",
    type=PoolName(["prefork", "asyncio", "gevent", "eventlet", "threads", "solo", "processes", "custom"]),
    metavar="NAME",
    help="How tasks run: prefork, asyncio, gevent, eventlet, threads, solo [prefork].",
)
@click.option(
    "--processes", type=AT_LEAST_ONE, metavar="N", help="Processes of asyncio, gevent or eventlet, each with -c [1]."
)
@click.option("--autoscale", metavar="MAX,MIN", help="Processes at most and at least; between them as work waits.")
@click.option("-Q", "--queues", metavar="NAMES", callback=split_names, help="Queues to consume [all of the app's].")
@click.option("-X", "--exclude-queues", metavar="NAMES", callback=split_names, help="Queues not to consume.")
@click.option(
    "-l",
    "--loglevel",
    type=click.Choice(LEVELS, case_sensitive=False),
    metavar="LEVEL",
    default="WARNING",
    help="debug, info, warning, error or critical [warning].",
)
@click.option("-f", "--logfile", metavar="FILE", help="Log there instead of stderr; %n is the node's name.")
@click.option("--pidfile", metavar="FILE", help="Write the process id there.")
@click.option("-D", "--detach", is_flag=True, help="Run in the background.")
@click.option("--time-limit", type=POSITIVE, metavar="SECONDS", help="Kill tasks after this time.")
@click.option("--soft-time-limit", type=POSITIVE, metavar="SECONDS", help="Interrupt tasks after this time.")
@click.option(
    "--max-tasks-per-child",
    "--maxtasksperchild",
    type=AT_LEAST_ONE,
    metavar="N",
    help="Replace a child after N tasks.",
)
@click.option(
    "--max-memory-per-child",
    "--maxmemperchild",
    type=AT_LEAST_ONE,
    metavar="KIB",
    help="Replace a child that holds more memory after a task.",
)
@click.option(
    "--prefetch-multiplier", type=click.IntRange(min=0), metavar="N", help="Messages held per slot [automatic]."
)
@click.option("--purge", "--discard", is_flag=True, help="Erase all waiting messages first.")
@click.option("-O", "--optimization", type=click.Choice(["default", "fair"]), hidden=True)
@click.option("-E", "--task-events", "--events", is_flag=True, hidden=True)
@click.option("--without-gossip", is_flag=True, hidden=True)
@click.option("--without-mingle", is_flag=True, hidden=True)
@click.option("--without-heartbeat", is_flag=True, hidden=True)
@click.option("--heartbeat-interval", type=float, hidden=True)
@click.option("-s", "--statedb", metavar="FILE", hidden=True)
@pass_cli
def worker(
    cli: CliContext,
    /,
    hostname: str | None,
    concurrency: int | None,
    pool: str | None,
    processes: int | None,
    autoscale: str | None,
    queues: tuple[str, ...],
    exclude_queues: tuple[str, ...],
    loglevel: str,
    logfile: str | None,
    pidfile: str | None,
    detach: bool,
    time_limit: float | None,
    soft_time_limit: float | None,
    max_tasks_per_child: int | None,
    max_memory_per_child: int | None,
    prefetch_multiplier: int | None,
    purge: bool,
    **_accepted: object,
) -> int:
    """Run a worker, which takes tasks from the broker and runs them.

    \b
    SIGTERM, SIGINT   warm stop: running tasks get 25 s (worker_shutdown_timeout), the rest goes back
    SIGQUIT, a second SIGINT or SIGTERM   cold stop: unfinished tasks go back at once
    SIGHUP            restart
    SIGUSR1           print what every thread is doing

    \b
    umbel -A proj worker -l info -c 4
    umbel -A proj worker -Q celery,mail -P threads -c 50
    """
    from umbel.worker import Worker, WorkerOptions
    from umbel.worker.autoscale import read_bounds

    if time_limit is not None and soft_time_limit is not None and soft_time_limit >= time_limit:
        raise click.UsageError("--soft-time-limit must be shorter than --time-limit, or it never comes")
    options = WorkerOptions(
        hostname=hostname,
        queues=queues,
        exclude_queues=exclude_queues,
        concurrency=concurrency,
        pool=pool,
        processes=processes,
        autoscale=None if autoscale is None else read_bounds(autoscale),
        loglevel=_level(loglevel),
        logfile=logfile,
        pidfile=pidfile,
        color=False if cli.no_color or os.environ.get("NO_COLOR") else None,
        quiet=cli.quiet,
        max_tasks_per_child=max_tasks_per_child,
        max_memory_per_child=max_memory_per_child,
        time_limit=time_limit,
        soft_time_limit=soft_time_limit,
        prefetch_multiplier=prefetch_multiplier,
        purge=purge,
    )
    cli.apply_environment()
    path = cli.named_app() if cli.given_app is not None else cli.required_app()
    if detach:
        from umbel.worker.detach import detach as leave_terminal

        leave_terminal(options.expanded_logfile)
    return Worker(cli.given_app if path is None else None, app_path=path, options=options).run()


def _level(name: str) -> int:
    level = logging.getLevelName(name.upper())
    if not isinstance(level, int):
        raise ImproperlyConfigured(f"There is no log level {name!r}; use one of {', '.join(LEVELS)}")
    return level
