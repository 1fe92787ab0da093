"""The tasks of the fleet, defined from one source for Umbel and for Celery. Each writes its start and end down."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from chaos.ledger import EARLY, FINISH, RETRY, START, Ledger, with_due

LEDGER = "CHAOS_LEDGER"
URL = "CHAOS_URL"
#: The visibility timeout of a fleet with a Celery worker in it (seconds).
VISIBILITY = "CHAOS_VISIBILITY"
#: Life of results (seconds), if another than the default.
RESULT_EXPIRES = "CHAOS_RESULT_EXPIRES"


class Call(NamedTuple):
    """A call to be made."""

    task: str
    kind: str
    args: tuple[Any, ...] = ()
    countdown: float | None = None


def settings() -> dict[str, Any]:
    """What Umbel's and Celery's apps share."""
    url = os.environ.get(URL)
    found: dict[str, Any] = {"broker_url": url, "result_backend": url}
    if os.environ.get(VISIBILITY):
        found["broker_transport_options"] = {"visibility_timeout": float(os.environ[VISIBILITY])}
    if os.environ.get(RESULT_EXPIRES):
        found["result_expires"] = float(os.environ[RESULT_EXPIRES])
    return found


def some_call(dice: random.Random, early: bool) -> Call:
    """One of the mix: mostly quick; some wait, compute, take long enough to be hit, try again, or are delayed."""
    kinds: list[tuple[float, Callable[[], Call]]] = [
        (55, lambda: Call("chaos.noop", "noop")),
        (16, lambda: Call("chaos.nap", "nap", (dice.uniform(0.001, 0.01),))),
        (10, lambda: Call("chaos.burn", "burn", (dice.uniform(0.001, 0.006),))),
        (5, lambda: Call("chaos.nap", "long", (dice.uniform(0.1, 0.5),))),
        (7, lambda: Call("chaos.again", "retry", (dice.randint(1, 2), dice.choice((0.0, 0.5, 3.2))))),
        (7, lambda: Call("chaos.noop", "delayed", (), dice.uniform(0.5, 4.5))),
    ]
    if early:
        kinds.append((5, lambda: Call("chaos.early", EARLY, (dice.uniform(0.001, 0.05),))))
    return dice.choices([make for _, make in kinds], [weight for weight, _ in kinds])[0]()


def define(app: Any) -> None:
    """Registers the tasks. Each returns its id, so that a result can be told from another's."""
    ledger = Ledger(os.environ[LEDGER]) if LEDGER in os.environ else None

    def note(request: Any, event: str, detail: str = "") -> None:
        if ledger is not None:
            ledger.note(event, (request.id,), request.retries, detail, request.hostname.partition("@")[0])

    def task(name: str, **options: Any) -> Callable[[Callable[..., None]], Any]:
        def register(body: Callable[..., None]) -> Any:
            def run(self: Any, *args: Any) -> str:
                note(self.request, START)
                body(self, *args)
                note(self.request, FINISH)
                return str(self.request.id)

            return app.task(name=name, bind=True, **options)(run)

        return register

    @task("chaos.noop")
    def noop(self: Any) -> None: ...

    @task("chaos.nap")
    def nap(self: Any, seconds: float) -> None:
        time.sleep(seconds)

    @task("chaos.early", acks_late=False)
    def early(self: Any, seconds: float) -> None:
        time.sleep(seconds)

    @task("chaos.burn")
    def burn(self: Any, seconds: float) -> None:
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass

    @task("chaos.again", max_retries=5)
    def again(self: Any, times: int, countdown: float) -> None:
        if self.request.retries < times:
            note(self.request, RETRY, with_due("retry", countdown))
            raise self.retry(countdown=countdown)
