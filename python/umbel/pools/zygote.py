"""The fork server: a fresh interpreter that imports the app once and forks children of itself on request.

It runs no thread, so that forking is safe, and does nothing else, so that a replacement child costs milliseconds.

Messages from the main process: `load`, `options`, `spawn` (with the child's socket), `signal`, `exit`.
Messages to it: `loaded`, `load-failed`, `spawned`, `refused`, `exited`.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import selectors
import signal
import socket
import sys
import threading
import warnings
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from umbel import signals
from umbel.execution.node import WorkerNode
from umbel.pools.app_finder import AppNotFoundError, add_working_directory, find_app
from umbel.pools.base import PoolOptions
from umbel.pools.channel import Channel, ChannelClosed
from umbel.pools.description import LoadRequest
from umbel.pools.lifeline import die_with_parent
from umbel.pools.loading import load_app
from umbel.pools.process import flush_standard_streams, freeze_heap, ignore_terminal, leave, run_child, set_up_logs
from umbel.pools.spawned import options_from
from umbel.pools.worker_signals import send_worker_signal

if TYPE_CHECKING:
    from umbel.app import Umbel


class Zygote:
    """Serves one main process. `app` is given when the zygote is a fork of a program that has imported it."""

    def __init__(self, channel: Channel, lifeline_fd: int, app: Umbel | None = None) -> None:
        self._channel = channel
        self._lifeline_fd = lifeline_fd
        self._app = app
        #: Once the app has been loaded.
        self._node: WorkerNode | None = None
        self._options: PoolOptions | None = None
        self._children: dict[int, int] = {}
        self._leaving = False
        self._wakeup_read, self._wakeup_write = os.pipe()
        os.set_blocking(self._wakeup_write, False)
        os.set_blocking(self._wakeup_read, False)

    def serve(self) -> int:
        """Returns the exit status, once told to exit and all children are reaped, or when the main process is gone."""
        self._install_signals()
        selector = selectors.DefaultSelector()
        selector.register(self._channel, selectors.EVENT_READ, self._receive)
        selector.register(self._wakeup_read, selectors.EVENT_READ, self._on_wakeup)
        try:
            while not (self._leaving and not self._children):
                for key, _events in selector.select():
                    key.data()
        except ChannelClosed:
            return 0
        return 0

    def _install_signals(self) -> None:
        # Service managers send these to every process of the service; the main process acts on them.
        ignore_terminal()
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wakeup_write, warn_on_full_buffer=False)

    def _on_wakeup(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wakeup_read, 512)
        self._reap()

    def _receive(self) -> None:
        for message, descriptor in self._channel.receive():
            self._handle(message, descriptor)

    def _handle(self, message: dict[str, Any], descriptor: int | None) -> None:
        command = message["command"]
        if command == "spawn" and descriptor is not None:
            self._spawn(message["child"], descriptor)
        elif command == "load":
            self._load(message)
        elif command == "options":
            self._prepare(options_from(message["options"]))
        elif command == "signal" and self._node is not None:
            send_worker_signal(self._node, message["name"], message["fields"])
        elif command == "exit":
            self._leaving = True

    # --- the app -------------------------------------------------------------------------------------------------

    def _load(self, message: dict[str, Any]) -> None:
        try:
            if self._app is None:
                add_working_directory(message["directory"])
                self._app = find_app(message["app"])
            request = LoadRequest(**message["request"])
            description = load_app(self._app, request)
        except AppNotFoundError as error:
            self._channel.send(
                {"event": "load-failed", "message": error.message, "hint": error.hint, "detail": error.detail}
            )
            return
        self._node = WorkerNode(self._app, request.hostname)
        description.threads = running_threads()
        self._channel.send({"event": "loaded", "description": asdict(description)})

    def _prepare(self, options: PoolOptions) -> None:
        """The last thing before the first fork."""
        assert self._app is not None
        self._options = options
        set_up_logs(self._app, options.log)
        if options.runner == PoolOptions.runner:
            # What is imported here children share, and what they import themselves each of them keeps.
            importlib.import_module(options.runner)
        freeze_heap()

    # --- children ------------------------------------------------------------------------------------------------

    def _spawn(self, number: int, link_fd: int) -> None:
        signals.worker_before_create_process.send(sender=self._node)
        threads = running_threads()
        if threads:
            os.close(link_fd)
            self._channel.send({"event": "refused", "child": number, "threads": threads})
            return
        # Buffered text would be written by the child as well.
        flush_standard_streams()
        pid = _fork()
        if pid == 0:
            self._become_child(number, link_fd)
        os.close(link_fd)
        self._children[pid] = number
        self._channel.send({"event": "spawned", "child": number, "pid": pid})

    def _become_child(self, number: int, link_fd: int) -> None:
        app, options = self._app, self._options
        assert app is not None
        assert options is not None
        signal.set_wakeup_fd(-1)
        os.close(self._wakeup_read)
        os.close(self._wakeup_write)
        self._channel.close()
        gc.enable()
        leave(lambda: run_child(app, number, link_fd, self._lifeline_fd, options))

    def _reap(self) -> None:
        for pid in list(self._children):
            reaped, status = os.waitpid(pid, os.WNOHANG)
            if reaped:
                number = self._children.pop(pid)
                self._channel.send({"event": "exited", "child": number, "pid": pid, "status": status})


def _fork() -> int:
    with warnings.catch_warnings():
        # Python warns of threads it does not know; those of extensions that matter here survive forks by design.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def running_threads() -> list[str]:
    """Names of the threads that make forking unsafe."""
    return [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]


def main() -> None:
    """`python -m umbel.pools.zygote SOCKET LIFELINE`: the descriptors are inherited."""
    socket_fd, lifeline_fd = int(sys.argv[1]), int(sys.argv[2])
    sys.argv[:] = sys.argv[:1]
    die_with_parent(signal.SIGKILL)
    # What the terminal or `timeout` sends to the group of the main process is for that one to act on.
    os.setpgid(0, 0)
    channel = Channel(socket.socket(fileno=socket_fd))
    # Threads that the app started must not keep the interpreter from ending.
    leave(Zygote(channel, lifeline_fd).serve)


if __name__ == "__main__":
    main()
