"""Tasks that a Celery app and an Umbel app define from the same source: the decorator's contract is common."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from typing import Any


class OwnError(Exception):
    """An exception that both sides can import."""


def settings(url: str, results: str | None = None, queue_type: str | None = None) -> dict[str, Any]:
    """The same for both; `results` None: in the broker. `queue_type`: of RabbitMQ's queues."""
    kinds = (
        dict.fromkeys(("task_default_queue_type", "task_create_missing_queue_type"), queue_type) if queue_type else {}
    )
    return {
        **kinds,
        "broker_url": url,
        "result_backend": results or url,
        "result_chord_retry_interval": 0.1,
        "accept_content": ["json", "msgpack", "yaml"],
        "result_expires": 600,
        "broker_connection_retry_on_startup": True,
    }


def note(path: str, text: str) -> None:
    """Appends a line in one write."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(descriptor, f"{text}\n".encode())
    finally:
        os.close(descriptor)


#: Fields of a request that Celery's user guide and its class name.
REQUEST = (
    "args", "called_directly", "chain", "chord", "correlation_id", "callbacks", "delivery_info", "errbacks", "eta",
    "expires", "group", "group_index", "headers", "hostname", "id", "ignore_result", "is_eager", "kwargs",
    "logfile", "loglevel",
    "origin", "parent_id", "properties", "replaced_task_nesting", "reply_to", "retries", "root_id", "shadow",
    "stamped_headers", "stamps", "taskset", "timelimit", "time_limit", "soft_time_limit", "utc", "task", "lang",
    "argsrepr", "kwargsrepr",
)  # fmt: skip


def define(app: Any, who: str) -> None:
    """Registers the tasks; `who` says on which side they run."""
    # Celery registers a shared one with every application of the process.
    task = partial(app.task, shared=False)

    @task(name="compat.add")
    def add(x: Any, y: Any) -> Any:
        return x + y

    @task(name="compat.echo")
    def echo(*args: Any, **kwargs: Any) -> Any:
        return [list(args), kwargs]

    @task(name="compat.who", bind=True)
    def who_runs(self: Any) -> list[Any]:
        info = self.request
        return [who, info.id, info.root_id, info.parent_id, info.retries, info.headers]

    @task(name="compat.request", bind=True)
    def request(self: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {name: getattr(self.request, name, "(no such field)") for name in REQUEST}

    @task(name="compat.fail")
    def fail(kind: str, *args: Any) -> None:
        raise {"own": OwnError, "key": KeyError, "value": ValueError}[kind](*args)

    @task(name="compat.retry", bind=True, max_retries=5)
    def retry(self: Any, times: int, countdown: float = 0.2) -> list[Any]:
        # Not at once: a Celery worker stores "RETRY" after it has sent the next try, and maybe after that has ended.
        if self.request.retries < times:
            raise self.retry(exc=OwnError(f"try {self.request.retries}"), countdown=countdown)
        return [who, self.request.retries]

    @task(name="compat.note")
    def note_task(path: str, text: str, seconds: float = 0.0) -> str:
        time.sleep(seconds)
        note(path, f"{text} {who}")
        return who

    @task(name="compat.sleep")
    def sleep(seconds: float) -> None:
        time.sleep(seconds)

    @task(name="compat.progress", bind=True, track_started=True)
    def progress(self: Any, until: str) -> str:
        self.update_state(state="PROGRESS", meta={"by": who})
        deadline = time.monotonic() + 30
        while not Path(until).exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        return who

    @task(name="compat.sum")
    def total(values: list[Any]) -> Any:
        return sum(values)

    @task(name="compat.same")
    def same(value: Any) -> Any:
        return value

    @task(name="compat.replaced", bind=True)
    def replaced(self: Any, x: int, queue: str, how: str) -> Any:
        one, two = (add.s(x, number).set(queue=queue) for number in (1, 2))
        if how == "task":
            raise self.replace(one)
        if how == "group":
            raise self.replace(app_group(app, [one, two]))
        raise self.replace(one | add.s(10).set(queue=queue))

    @task(name="compat.counted")
    def counted(path: str, value: Any) -> Any:
        note(path, f"{value} {who}")
        return value

    @task(name="compat.failed")
    def failed(task_id: str, path: str) -> None:
        note(path, f"{task_id} failed {who}")


def app_group(app: Any, members: list[Any]) -> Any:
    """A group of that library."""
    if type(app).__module__.startswith("celery"):
        from celery import group as celery_group

        return celery_group(members)
    from umbel import group

    return group(members)
