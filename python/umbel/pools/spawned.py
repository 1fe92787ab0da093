"""A child that is an interpreter of its own and imports the app itself: for apps that start threads on import."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from dataclasses import asdict
from typing import Any

from umbel.pools.app_finder import AppNotFoundError, add_working_directory, find_app
from umbel.pools.base import LogOptions, PoolOptions
from umbel.pools.description import LoadRequest
from umbel.pools.lifeline import die_with_parent


def spawn_setup(app: str, number: int, link_fd: int, lifeline_fd: int, options: PoolOptions) -> str:
    """The argument of such a child."""
    setup = {"app": app, "number": number, "link": link_fd, "lifeline": lifeline_fd, "options": asdict(options)}
    return json.dumps(setup)


def options_from(values: dict[str, Any]) -> PoolOptions:
    """The reverse of `asdict`."""
    return PoolOptions(**{**values, "log": LogOptions(**values["log"]), "request": LoadRequest(**values["request"])})


def main() -> None:
    """Runs the child; ends the process."""
    setup = json.loads(sys.argv[1])
    sys.argv[:] = sys.argv[:1]
    die_with_parent(signal.SIGKILL)
    os.setpgid(0, 0)
    options = options_from(setup["options"])
    add_working_directory()

    from umbel.pools.loading import load_app
    from umbel.pools.process import START_FAILED, leave, logger, run_child, set_up_logs

    try:
        app = find_app(setup["app"])
        load_app(app, options.request)
        set_up_logs(app, options.log)
    except AppNotFoundError as error:
        logging.basicConfig()
        logger.critical("Child %d cannot import the app: %s\n%s", setup["number"], error.message, error.detail)
        leave(lambda: START_FAILED)
        return
    leave(lambda: run_child(app, setup["number"], setup["link"], setup["lifeline"], options))


if __name__ == "__main__":
    main()
