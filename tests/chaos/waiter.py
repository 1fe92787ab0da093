"""A waiter: gets the result of each task whose id it reads from its standard input, many at a time.

python -m chaos.waiter NAME FOLDER
"""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from chaos.ledger import OK, RESULT, Ledger
from chaos.umbel_app import app
from umbel.exceptions import OperationalError, TimeoutError
from umbel.result import AsyncResult

_THREADS = 48
#: One wait; who waits in vain goes to the end of the line, so that others have their turn (seconds).
_PATIENCE = 5.0
#: After an error of the store (seconds).
_PAUSE = 0.2


def outcome(task_id: str) -> str | None:
    """Waits for a result; says `OK` or what is wrong with it, None if it is not there yet."""
    try:
        found = AsyncResult[str](task_id, app=app).get(timeout=_PATIENCE)
        return OK if found == task_id else f"belongs-to-{found}"
    except TimeoutError:
        return None
    except OperationalError:
        time.sleep(_PAUSE)
        return None
    except Exception as error:  # what the task, or its worker's death, left as its result
        return type(error).__name__


def main() -> None:
    """Waits until the end of input."""
    name, folder = sys.argv[1:]
    ledger = Ledger(Path(folder) / "ledger", name)

    over = threading.Event()

    def wait(task_id: str) -> None:
        detail = outcome(task_id)
        if detail is not None:
            ledger.note(RESULT, (task_id,), detail=detail)
        elif not over.is_set():
            pool.submit(wait, task_id)

    with ThreadPoolExecutor(_THREADS) as pool:
        for line in sys.stdin:
            pool.submit(wait, line.strip())
        over.set()


if __name__ == "__main__":
    main()
