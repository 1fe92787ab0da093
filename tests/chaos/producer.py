"""A producer: publishes the mix at a steady pace until told to stop.

    python -m chaos.producer NAME FOLDER SEED RATE AT_ONCE EARLY

Reads commands from its standard input: `die N` kills it N microseconds into its next publish; the end of input ends it.
While the file `pause` exists in its folder it publishes nothing.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

from chaos.ledger import ATTEMPT, CONFIRMED, REFUSED, Entry, Ledger, with_due
from chaos.tasks import Call, some_call
from chaos.umbel_app import app
from umbel.app.building import Prepared
from umbel.exceptions import OperationalError

_PAUSE = 0.05


class Producer:
    """Numbers its tasks `NAME.N`."""

    def __init__(self, name: str, folder: Path, seed: int, early: bool) -> None:
        self._name = name
        self._ledger = Ledger(folder / "ledger", name)
        self._dice = random.Random(f"{seed} {name}")
        self._early = early
        self._number = 0
        #: Microseconds into the next publish after which this process dies.
        self.doom: int | None = None

    def publish(self, count: int) -> None:
        """Publishes so many at once: one as users do, more in one confirmed batch."""
        calls = [some_call(self._dice, self._early) for _ in range(count)]
        ids = [f"{self._name}.{self._number + offset}" for offset in range(count)]
        self._number += count
        now, pid = time.monotonic_ns(), os.getpid()
        self._ledger.append(
            Entry(now, ATTEMPT, task_id, 0, pid, self._name, with_due(call.kind, call.countdown))
            for task_id, call in zip(ids, calls, strict=True)
        )
        if self.doom is not None:
            threading.Thread(target=die, args=(self.doom,)).start()
        try:
            if count == 1:
                app.tasks[calls[0].task].apply_async(calls[0].args, task_id=ids[0], countdown=calls[0].countdown)
            else:
                app.sender.publish([prepared(*pair) for pair in zip(ids, calls, strict=True)])
        except OperationalError as error:
            self._ledger.note(REFUSED, ids, detail=type(error).__name__)
        else:
            self._ledger.note(CONFIRMED, ids)


def prepared(task_id: str, call: Call) -> Prepared:
    """The message of one call in a batch."""
    options = {"task_id": task_id, "countdown": call.countdown}
    return app.sender.prepare(call.task, call.args, {}, options, app.tasks[call.task])


def die(microseconds: int) -> None:
    """Kills this process in a while."""
    time.sleep(microseconds / 1e6)
    os.kill(os.getpid(), signal.SIGKILL)


def listen(producer: Producer, over: threading.Event) -> None:
    """Follows commands."""
    for line in sys.stdin:
        producer.doom = int(line.split()[1])
    over.set()


def main() -> None:
    """Publishes until the end of input."""
    name, folder, seed, rate, at_once, early = sys.argv[1:]
    producer, over = Producer(name, Path(folder), int(seed), early == "1"), threading.Event()
    threading.Thread(target=listen, args=(producer, over), daemon=True).start()
    step = int(at_once) / float(rate)
    next_at = time.monotonic()
    while not over.wait(max(0.0, next_at - time.monotonic())):
        if (Path(folder) / "pause").exists():
            next_at = time.monotonic() + _PAUSE
            continue
        producer.publish(int(at_once))
        # What an outage delayed is not made up for.
        next_at = max(next_at + step, time.monotonic() - step)


if __name__ == "__main__":
    main()
