"""Tasks whose calls are run many at a time: `Batches` and `SimpleRequest`, as celery-batches has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from umbel.exceptions import ImproperlyConfigured
from umbel.task.task import Task

if TYPE_CHECKING:
    from umbel.task.request import Context

__all__ = ["Batches", "SimpleRequest", "batch_options", "results_of"]

#: The most calls of one batch: they are held by a worker while they gather.
_MOST = 10_000


class SimpleRequest:
    """One call of a batch."""

    __slots__ = ("args", "context", "correlation_id", "delivery_info", "hostname", "id", "ignore_result", "kwargs",
                 "name", "reply_to", "told")  # fmt: skip

    def __init__(
        self,
        id: str,
        name: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        delivery_info: Mapping[str, Any] | None = None,
        hostname: str | None = None,
        ignore_result: bool | None = None,
        reply_to: str | None = None,
        correlation_id: str | None = None,
        context: Context | None = None,
    ) -> None:
        self.id = id
        #: Of the task.
        self.name = name
        self.args = args
        self.kwargs = {} if kwargs is None else kwargs
        self.delivery_info = delivery_info
        self.hostname = hostname
        self.ignore_result = ignore_result
        self.reply_to = reply_to
        self.correlation_id = correlation_id
        #: The whole request, as `self.request` of other tasks has it.
        self.context = context
        #: The result, in a tuple, that `app.backend.mark_as_done` and its like were given for this request.
        self.told: tuple[Any] | None = None

    @classmethod
    def from_request(cls, request: Context) -> SimpleRequest:
        """Of a request in a worker."""
        return cls(
            request.id, request.task, request.args, request.kwargs, request.delivery_info, request.hostname,
            request.ignore_result, request.reply_to, request.correlation_id, request,
        )  # fmt: skip

    def tell(self, result: Any) -> None:
        """Notes the call's result, or the exception it failed with; stored when the batch ends."""
        self.told = (result,)

    def __repr__(self) -> str:
        return f"<SimpleRequest: {self.name}[{self.id}]>"


class Batches(Task[..., Any]):
    """Base of a task whose function takes a list of `SimpleRequest`: `@app.task(base=Batches, flush_every=100)`.

    The function returns None, or a list with one result for each call, or something that is the result of all. An
    exception in the list is the failure of that call; one that is raised fails all, each with its own retries.
    """

    abstract = True
    #: The function takes other arguments than its callers give.
    typing = False
    #: So many calls at most; as many are run at once.
    flush_every: int | None = 10
    #: Fewer are run when the first of them has waited for so long, seconds.
    flush_interval: float = 30.0


def batch_options(task: Task[..., Any]) -> tuple[int, float]:
    """How many calls are run at once, and how long they wait. Raises ImproperlyConfigured."""
    every, interval = task.flush_every, task.flush_interval
    if isinstance(every, bool) or not isinstance(every, int) or not 1 <= every <= _MOST:
        raise ImproperlyConfigured(f"Task {task.name}: flush_every takes a number from 1 to {_MOST}, not {every!r}")
    if isinstance(interval, bool) or not isinstance(interval, (int, float)) or interval < 0:
        raise ImproperlyConfigured(f"Task {task.name}: flush_interval takes seconds from 0 on, not {interval!r}")
    return every, float(interval)


def results_of(requests: Sequence[SimpleRequest], returned: Any) -> list[Any]:
    """What each call of a batch came to; an exception is a failure. Raises ValueError for a list of another length."""
    if isinstance(returned, (list, tuple)):
        if len(returned) != len(requests):
            raise ValueError(f"A batch of {len(requests)} calls returned a list of {len(returned)} results")
        results = list(returned)
    else:
        results = [returned] * len(requests)
    pairs = zip(requests, results, strict=True)
    return [result if request.told is None else request.told[0] for request, result in pairs]
