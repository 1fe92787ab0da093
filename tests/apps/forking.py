"""Programs that import and use an app and then fork: a web application, and one with a pool of processes.

gunicorn --preload apps.forking:application
python -m apps.forking fork|spawn
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable

from apps.basic import app

#: How long a call may take here, seconds.
PATIENCE = 30
CALLS = 24


def call(number: int) -> tuple[int, int]:
    """A task's result, and the process that asked for it."""
    value: int = app.tasks["basic.add"].delay(number, 1).get(timeout=PATIENCE)
    return os.getpid(), value


def application(
    environ: dict[str, object], start_response: Callable[[str, list[tuple[str, str]]], object]
) -> Iterable[bytes]:
    """Calls a task with the number in the query."""
    answer = json.dumps(call(int(str(environ["QUERY_STRING"])))).encode()
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    return [answer]


# So that connections and the listener's thread are there before the fork.
call(0)


def main() -> None:
    """Prints what the processes of a pool got, and the parent after them."""
    with multiprocessing.get_context(sys.argv[1]).Pool(3) as pool:
        answers = pool.map(call, range(CALLS))
    sys.stdout.write(json.dumps([*answers, call(CALLS)]))


if __name__ == "__main__":
    main()
