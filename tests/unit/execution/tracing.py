"""A delivery without a worker: a job of a prepared message, and a link that keeps what is reported."""

from __future__ import annotations

from typing import Any

from umbel import Task, Umbel, _native
from umbel.execution.tracer import Tracer


class Job:
    """What the tracer sees of `_native.Job`."""

    def __init__(self, message: Any, redelivered: bool = False, failed_deliveries: int = 0) -> None:
        # Through JSON, as headers come off the wire.
        self._headers = _native.json_loads(_native.json_dumps(dict(message["headers"])))
        self.id = self._headers["id"]
        self.task = self._headers["task"]
        self.group = self._headers.get("group")
        self.parent_id = self._headers.get("parent_id")
        self.retries = self._headers.get("retries") or 0
        self.ignore_result = self._headers.get("ignore_result")
        self.body = message["body"]
        self.content_type = message["content_type"]
        self.content_encoding = message["content_encoding"]
        self.properties = dict(message["properties"])
        self.queue = message["routing_key"]
        # Python undoes what the core does not know; the core did the rest.
        method = self._headers.get("compression")
        self.compression = method if method in ("application/x-lzma", "application/x-rot13") else None
        if method is not None and self.compression is None:
            self.body = _native.decompress(self.body, method)
        self.redelivered = redelivered
        self.failed_deliveries = failed_deliveries
        self.delivery_info = {
            "exchange": message["exchange"],
            "routing_key": message["routing_key"],
            "priority": self.properties["priority"],
            "redelivered": redelivered,
        }

    @property
    def headers(self) -> dict[str, Any]:
        return dict(self._headers)

    def decode_json(self) -> Any:
        args, kwargs, embed = _native.json_loads(self.body)
        return args, kwargs, embed


class Link:
    """Keeps the reports of one job."""

    def __init__(self) -> None:
        self.outcomes: list[dict[str, Any]] = []
        self.progress: list[tuple[str, dict[str, Any]]] = []
        self.flushed = False

    def finish(
        self, job: Any, state: str, disposition: str, record: Any, expires: Any, publish: Any, reason: str = "",
        kind: str = "rejected",
    ) -> None:  # fmt: skip
        self.outcomes.append(
            {
                "state": state,
                "disposition": disposition,
                "record": None if record is None else _native.json_loads(record),
                "expires": expires,
                "publish": list(publish),
                "reason": reason,
                "kind": kind,
            }
        )

    def companions(self, job: Any) -> list[Any]:
        return []

    def started(
        self, job: Any, record: bytes, expires: Any, state: str = "STARTED", task_id: str | None = None
    ) -> None:
        self.progress.append((state, _native.json_loads(record)))

    def flush(self) -> None:
        self.flushed = True


class Bench:
    """Runs calls through a tracer."""

    def __init__(self, app: Umbel) -> None:
        self.app = app
        self.link = Link()

    def run(self, task: Task[..., Any] | str, *args: Any, kwargs: Any = None, **options: Any) -> dict[str, Any]:
        """The outcome of one call."""
        name = task if isinstance(task, str) else task.name
        message = self.app.sender.prepare(name, args, kwargs, options, None if isinstance(task, str) else task).message
        return self.deliver(message)

    def deliver(self, message: Any, failed_deliveries: int = 0) -> dict[str, Any]:
        """The outcome of one message."""
        self.link = Link()
        job: Any = Job(message, failed_deliveries=failed_deliveries)
        link: Any = self.link
        Tracer(self.app, "w@h").run(job, link)
        assert len(self.link.outcomes) == 1
        return self.link.outcomes[0]

    def body(self, message: Any) -> Any:
        """args, kwargs and embed of a message."""
        return _native.json_loads(message["body"])
