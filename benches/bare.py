"""The ceiling of tasks that compute: their function, called without end.

`python -m benches.bare LOOPS SECONDS` prints how often a second.
"""

from __future__ import annotations

import sys
import time

from benches import work


def main() -> None:
    """The command."""
    loops, seconds = int(sys.argv[1]), float(sys.argv[2])
    calls, start = 0, time.perf_counter()
    while (taken := time.perf_counter() - start) < seconds:
        work.turn(loops)
        calls += 1
    print(calls / taken)


if __name__ == "__main__":
    main()
