"""`Context`: what a task sees of its message, as `self.request`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from umbel.states import READY_STATES

if TYPE_CHECKING:
    from umbel._native import Job

__all__ = ["Context"]

#: Headers that are not custom. The rest of a message's headers is `request.headers`.
_STANDARD = frozenset(
    {
        "lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries", "timelimit", "root_id",
        "parent_id", "argsrepr", "kwargsrepr", "origin", "ignore_result", "replaced_task_nesting", "stamped_headers",
        "stamps", "compression", "meth", "umbel_attempts",
    }
)  # fmt: skip
#: What RabbitMQ adds to a dead-lettered message. Sent again it would be taken for a cycle.
_X_DEATH = frozenset(
    {
        "x-death", "x-first-death-exchange", "x-first-death-queue", "x-first-death-reason", "x-last-death-exchange",
        "x-last-death-queue", "x-last-death-reason",
    }
)  # fmt: skip
#: Attempts that are kept; the oldest go first. Messages of retries carry them.
_MOST_ATTEMPTS = 50
#: Of a reason in their list.
_LONGEST_WHY = 500


class _FromJob:
    """A field computed from the job the first time it is looked at: most tasks look at none."""

    def __init__(self, compute: Any) -> None:
        self._compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, request: Context | None, owner: type) -> Any:
        if request is None:
            return None
        value = request.__dict__[self._name] = self._compute(request)
        return value


class _Header:
    """A field that is a header; all headers of the job become fields when the first of them is looked at."""

    def __init__(self, default: Any = None) -> None:
        self._default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, request: Context | None, owner: type) -> Any:
        if request is None:
            return self._default
        request._load_headers()
        return request.__dict__.get(self._name, self._default)


def _header(default: Any = None) -> Any:
    return _Header(default)


class Context:
    """A request. Every field may be absent from the message, and then has the value given here."""

    id: Any = None
    task: Any = None
    args: Any = None
    kwargs: Any = None
    shadow: str | None = _header()
    eta: str | None = _header()
    expires: str | None = _header()
    group: str | None = None
    group_index: int | None = _header()
    retries: int = 0
    timelimit: Any = _header()
    root_id: str | None = _header()
    parent_id: str | None = None
    argsrepr: str | None = _header()
    kwargsrepr: str | None = _header()
    origin: str | None = _header()
    ignore_result: bool | None = None
    replaced_task_nesting: int = _header(0)
    stamped_headers: list[str] | None = _header()
    stamps: dict[str, Any] | None = _header()
    #: What became of earlier tries, in a header that the messages of retries carry.
    umbel_attempts: list[dict[str, Any]] | None = _header()
    callbacks: list[Any] | None = None
    errbacks: list[Any] | None = None
    chain: list[Any] | None = None
    chord: Any = None
    hostname: str | None = None
    logfile: str | None = None
    loglevel: int | None = None
    utc: bool | None = None
    taskset: str | None = None
    is_eager: bool = False
    called_directly: bool = True

    #: The request that was running when this one began.
    outer: Context | None = None
    #: The task that runs.
    task_object: Any = None
    #: The delivered message and where its outcome goes; None outside a worker.
    job: Any = None
    link: Any = None
    #: The outcome has been handed over.
    reported: bool = False
    #: When this try began, by `time.monotonic`.
    started: float | None = None
    #: Another call took the task's place.
    replaced: bool = False
    #: Name of the task that this one fails for, whose own process could not tell; "" if nobody's code is to hear it.
    fails_for: str | None = None
    _loaded: bool = False
    _children: list[Any] | None = None
    _follow_ups: list[Any] | None = None

    def __init__(self, fields: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        if fields:
            self.__dict__.update(fields)
        if more:
            self.__dict__.update(more)

    @classmethod
    def of_job(cls, job: Job, args: Any, kwargs: Any, hostname: str) -> Context:
        """The request of a delivered message, whose headers become its fields once they are asked for."""
        request = cls.__new__(cls)
        fields = request.__dict__
        fields["job"] = job
        # The worker has read these already.
        fields["id"] = job.id
        fields["task"] = job.task
        fields["group"] = job.group
        fields["parent_id"] = job.parent_id
        fields["retries"] = job.retries
        fields["ignore_result"] = job.ignore_result
        fields["args"] = args
        fields["kwargs"] = kwargs
        fields["hostname"] = hostname
        fields["called_directly"] = False
        return request

    def _load_headers(self) -> None:
        fields = self.__dict__
        if self.job is None or self._loaded:
            return
        fields["_loaded"] = True
        for name, value in self.job.headers.items():
            # A custom header may have any name; it must not replace what is not a header, nor what was set since.
            if name not in fields and name not in _PROTECTED:
                fields[name] = value

    def __getattr__(self, name: str) -> Any:
        # Custom headers are fields too.
        if not name.startswith("_"):
            self._load_headers()
            try:
                return self.__dict__[name]
            except KeyError:
                pass
        raise AttributeError(f"the request has no field {name!r}", name=name, obj=self)

    @_FromJob
    def delivery_info(self) -> dict[str, Any] | None:
        """exchange, routing_key, priority and redelivered."""
        return self.job.delivery_info if self.job is not None else None

    @_FromJob
    def properties(self) -> dict[str, Any] | None:
        """The message's properties, as they came."""
        return self.job.properties if self.job is not None else None

    @_FromJob
    def reply_to(self) -> str | None:
        """Where the sender wants replies."""
        return (self.properties or {}).get("reply_to")

    @_FromJob
    def correlation_id(self) -> str | None:
        """The sender's id of the exchange of messages; usually the task id."""
        return (self.properties or {}).get("correlation_id")

    @_FromJob
    def headers(self) -> dict[str, Any] | None:
        """Custom headers; None if there are none."""
        if self.job is None:
            return None
        custom = {name: value for name, value in self.job.headers.items() if name not in _STANDARD}
        return custom or None

    @property
    def time_limit(self) -> float | None:
        """The hard limit the message asks for, seconds."""
        return self.timelimit[0] if self.timelimit else None

    @property
    def soft_time_limit(self) -> float | None:
        """The soft limit the message asks for, seconds."""
        return self.timelimit[1] if self.timelimit else None

    @property
    def children(self) -> list[Any]:
        """Results of the tasks this one sent."""
        if self._children is None:
            self._children = []
        return self._children

    @property
    def follow_ups(self) -> list[Any]:
        """Messages to publish in the same step in which this one is acknowledged."""
        if self._follow_ups is None:
            self._follow_ups = []
        return self._follow_ups

    def attempts_to_tell(self, state: str, now: datetime) -> list[dict[str, Any]] | None:
        """`attempts` in a state that is no failure: None where there is nothing to tell but this one try."""
        if not self.retries and not (self.job is not None and self.job.failed_deliveries):
            return None
        return self.attempts(state, None, now)

    def attempts(self, state: str, why: str | None, now: datetime) -> list[dict[str, Any]]:
        """Every try of this task so far, this one included, which ended now in `state` because of `why`; in a state
        that is not final (STARTED, one of your own) it goes on."""
        known = self.umbel_attempts
        tries = [one for one in known if isinstance(one, dict)] if isinstance(known, list) else []
        lost = self.job.failed_deliveries if self.job is not None else 0
        why_lost = "the process or machine that ran it was lost"
        tries += [{"retries": self.retries, "state": "LOST", "why": why_lost}] * min(lost, _MOST_ATTEMPTS)
        began = None if self.started is None else now - timedelta(seconds=time.monotonic() - self.started)
        tries.append(
            {
                "retries": self.retries,
                "state": state,
                "worker": self.hostname,
                "started": None if began is None else began.isoformat(),
                "ended": now.isoformat() if state in READY_STATES or state == "RETRY" else None,
                "why": why if why is None else why[:_LONGEST_WHY],
            }
        )
        return tries[-_MOST_ATTEMPTS:]

    def get(self, key: str, default: Any = None) -> Any:
        """The field, or `default`."""
        return getattr(self, key, default)

    def update(self, fields: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Replaces fields."""
        self.__dict__.update(fields or {}, **more)

    def clear(self) -> None:
        """Forgets everything."""
        self.__dict__.clear()

    def as_execution_options(self) -> dict[str, Any]:
        """Options with which `apply_async` sends this task again unchanged."""
        hard, soft = self.timelimit or (None, None)
        options: dict[str, Any] = {
            "task_id": self.id,
            "root_id": self.root_id,
            "parent_id": self.parent_id,
            "group_id": self.group,
            "group_index": self.group_index,
            "shadow": self.shadow,
            "chord": self.chord,
            "chain": self.chain,
            "link": self.callbacks,
            "link_error": self.errbacks,
            "expires": self.expires,
            "soft_time_limit": soft,
            "time_limit": hard,
            "headers": self._headers_to_repeat(),
            "retries": self.retries,
            "reply_to": self.reply_to,
            "replaced_task_nesting": self.replaced_task_nesting,
            "origin": self.origin,
        }
        if self.stamps is not None and self.stamped_headers is not None:
            options["stamped_headers"] = self.stamped_headers
            options.update({name: value for name, value in self.stamps.items() if name in self.stamped_headers})
        return options

    def _headers_to_repeat(self) -> dict[str, Any]:
        custom = cast("dict[str, Any]", self.headers or {})
        return {name: value for name, value in custom.items() if name not in _X_DEATH and name != "redelivered"}

    def __repr__(self) -> str:
        self._load_headers()
        shown = {name: value for name, value in self.__dict__.items() if not name.startswith("_")}
        shown.pop("task_object", None)
        shown.pop("outer", None)
        return f"<Context: {shown!r}>"


_PROTECTED = frozenset(name for name in dir(Context) if not name.startswith("__")) - _STANDARD
