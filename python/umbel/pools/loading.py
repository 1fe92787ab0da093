"""Makes an app ready to run tasks: imports its modules and sends the signals of a worker that comes up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from umbel import signals
from umbel.exceptions import ImproperlyConfigured, QueueNotFound, SerializerNotInstalled
from umbel.execution.node import WorkerNode
from umbel.pools.app_finder import AppNotFoundError, broken_module, import_user_module
from umbel.pools.description import AppDescription, LoadRequest, describe

if TYPE_CHECKING:
    from umbel.app import Umbel


def load_app(app: Umbel, request: LoadRequest) -> AppDescription:
    """Imports what the app names, registers its tasks and describes it.

    Raises:
        AppNotFoundError: One of its modules cannot be imported, or its settings cannot work.
    """
    try:
        return _load(app, request)
    except (ImproperlyConfigured, QueueNotFound, SerializerNotInstalled) as error:
        text = error.args[0] if error.args else error
        raise AppNotFoundError(str(text), "Correct the settings of the app") from error


def _load(app: Umbel, request: LoadRequest) -> AppDescription:
    node = WorkerNode(app, request.hostname)
    signals.celeryd_init.send(sender=request.hostname, instance=node, conf=app.conf, options={})
    app.conf.update(request.settings)
    for name in (*app.conf.imports, *app.conf.include):
        import_user_module(name)
    for _receiver, response in signals.import_modules.send(sender=app):
        if isinstance(response, Exception):
            raise broken_module("a module with tasks", response)
    app.finalize()
    # Celery's order.
    signals.worker_init.send(sender=node)
    signals.celeryd_after_setup.send(sender=request.hostname, instance=node, conf=app.conf)
    return describe(app, request)
