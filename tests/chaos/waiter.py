"""A waiter: gets the result of each task whose id it reads from its standard input, many at a time.

python -m chaos.waiter NAME FOLDER
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from chaos.ledger import OK, RESULT, Ledger
from chaos.umbel_app import app
from umbel.exceptions import OperationalError, TimeoutError
from umbel.result import AsyncResult

_THREADS = 48
#: One wait; it is begun again until the result is there (seconds).
_PATIENCE = 30.0
#: After an error of the store (seconds).
_PAUSE = 0.2


def outcome(task_id: str) -> str:
    """Waits for a result; says `OK` or what is wrong with it."""
    while True:
        try:
            found = AsyncResult[str](task_id, app=app).get(timeout=_PATIENCE)
            return OK if found == task_id else f"belongs-to-{found}"
        except TimeoutError:
            continue
        except OperationalError:
            time.sleep(_PAUSE)
        except Exception as error:  # what the task, or its worker's death, left as its result
            return type(error).__name__


def main() -> None:
    """Waits until the end of input, then for what is left."""
    name, folder = sys.argv[1:]
    ledger = Ledger(Path(folder) / "ledger", name)

    def wait(task_id: str) -> None:
        ledger.note(RESULT, (task_id,), detail=outcome(task_id))

    with ThreadPoolExecutor(_THREADS) as pool:
        for line in sys.stdin:
            pool.submit(wait, line.strip())


if __name__ == "__main__":
    main()
