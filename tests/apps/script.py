"""A program that runs its own worker: no module name leads to its app."""

from __future__ import annotations

import sys

from umbel import Umbel

app = Umbel("script")


@app.task(name="script.add")
def add(x: int, y: int) -> int:
    """Something to run."""
    return x + y


if __name__ == "__main__":
    sys.exit(app.worker_main(["worker", *sys.argv[4:]]))
