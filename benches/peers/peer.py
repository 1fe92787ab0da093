"""What the harness must know of a task queue; nothing here imports one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Peer:
    """A task queue as its own documentation sets it up.

    Attributes:
        name: Row of the tables.
        module: Module of `benches.apps`, whose `library` the measuring side uses.
        distributions: What must be installed, and whose versions are printed.
        worker: Command of its worker. `{python}`, `{bin}` (the folder of its programs), `{app}` (the module's dotted
            name), `{broker}`, `{slots}` (tasks at once) and `{share}` (half of them: for each of two processes) are
            filled in; `{share}` is also in its environment, as BENCH_SHARE.
        processes: How often that command is started.
        settings: Printed with the figures.
        store: `redis`, `rabbitmq`, or `sqlite`: a file of its own.
        scheme: Of its URL, on RabbitMQ.
        measured: Names of the measurements it takes part in; None: in all.
        environment: Suffix of the virtual environment it lives in, where it cannot share the others'.
        slots: Tasks at once.
        waiting_slots: Tasks at once where tasks wait.
        waiting_worker: Command for that, if another.
        ours: Whether it is Umbel.
        far: Whether it is measured at a distance from its broker.
        publishes: False: another peer publishes in the very same way, and is measured.
        workflows: Whether it has Celery's words for workflows, and is measured with them.
    """

    name: str
    module: str
    distributions: tuple[str, ...]
    worker: tuple[str, ...]
    settings: Mapping[str, str]
    processes: int = 1
    store: str = "redis"
    scheme: str = "amqp"
    measured: tuple[str, ...] | None = None
    environment: str = ""
    slots: int = 2
    waiting_slots: int = 32
    waiting_worker: tuple[str, ...] = ()
    ours: bool = False
    far: bool = False
    publishes: bool = True
    workflows: bool = False

    @property
    def app(self) -> str:
        """Dotted name of the application's module."""
        return f"benches.apps.{self.module}"
