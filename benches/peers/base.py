"""What the harness must know of a peer."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Peer:
    """A task queue as its own documentation sets it up.

    Attributes:
        name: column of the table.
        application: module that defines `app`, `noop`, `echo` and `burn`.
        worker: arguments after `python -m`, with `{concurrency}`.
        needs_redis: whether its broker is the run's Redis; else a folder of its own is given.
        settings: printed with the figures.
    """

    name: str
    application: str
    worker: tuple[str, ...]
    needs_redis: bool = True
    settings: dict[str, str] = field(default_factory=dict)
