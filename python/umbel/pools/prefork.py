"""The prefork pool: children forked from a zygote that imported the app once.

If importing the app started threads, forking would copy their locks without them: children are then fresh
interpreters that import the app each for itself (`spawned`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from umbel.pools.app_finder import AppNotFoundError
from umbel.pools.base import AppSource, Pool, PoolOptions, Supervisor
from umbel.pools.channel import Channel, ChannelClosed
from umbel.pools.description import AppDescription
from umbel.pools.lifeline import adopt_orphans, open_lifeline

logger = logging.getLogger("umbel.worker")

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 30.0
#: How long worker_shutdown handlers may take, and the zygote to end (seconds).
_GOODBYE = 5.0


class PreforkPool(Pool):
    """Children are processes."""

    name = "prefork"
    processes = True
    #: See `PoolOptions.runner`.
    runner = "umbel.pools.child_loop"

    def __init__(self, source: AppSource) -> None:
        super().__init__(source)
        self._supervisor: Supervisor | None = None
        self._options = PoolOptions(source.request)
        self._size = 1
        self._numbers = 0
        #: Engine's ends of the sockets of children that are on their way.
        self._starting: dict[int, socket.socket] = {}
        #: Pid to number, of children whose zygote died or that never had one: ours to reap.
        self._own: dict[int, int] = {}
        self._forked: dict[int, int] = {}
        self._spawning = False
        #: Whether the zygote has the app; until then children wait in `_starting`.
        self._ready = False
        self._closing = False
        self._pause = _FIRST_PAUSE
        #: 0 while there is none.
        self._zygote_pid = 0
        self._lifeline_read, self._lifeline_write = open_lifeline()

    # --- life of the pool ----------------------------------------------------------------------------------------

    def load(self) -> AppDescription:
        adopt_orphans()
        self._start_zygote()
        self._request_load()
        while True:
            try:
                messages = self._channel.receive()
            except ChannelClosed:
                self._channel.close()
                raise AppNotFoundError(
                    f"the process that imports the app ended ({self._end_zygote()})",
                    "Its own output above may tell why; try importing the app with python -c",
                ) from None
            for message, _descriptor in messages:
                if message["event"] == "load-failed":
                    raise AppNotFoundError(message["message"], message["hint"], message["detail"])
                if message["event"] == "loaded":
                    return self._loaded(message)

    def attach(self, supervisor: Supervisor, options: PoolOptions, concurrency: int) -> None:
        self._supervisor = supervisor
        self._options = replace(options, runner=self.runner)
        self._size = concurrency
        self._channel.send({"command": "options", "options": asdict(self._options)})
        supervisor.selector.register(self._channel, selectors.EVENT_READ, self._receive)

    @property
    def size(self) -> int:
        return self._size

    def send_signal(self, name: str, fields: Mapping[str, Any] | None = None) -> None:
        if self._ready:
            with contextlib.suppress(ChannelClosed):
                self._channel.send({"command": "signal", "name": name, "fields": fields})

    def describe(self) -> str:
        return f"{self.name} (spawn)" if self._spawning else self.name

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        for ends in self._starting.values():
            ends.close()
        if self._ready:
            with contextlib.suppress(ChannelClosed):
                self._channel.send({"command": "exit"})
                self._await_zygote()
        if self._zygote_pid:
            self._end_zygote()
            self._channel.close()
        self.reap()
        for pid in self._own:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        os.close(self._lifeline_write)
        os.close(self._lifeline_read)

    # --- children ------------------------------------------------------------------------------------------------

    def spawn(self) -> None:
        self._numbers += 1
        ours, theirs = socket.socketpair()
        self._starting[self._numbers] = ours
        with theirs:
            if self._spawning:
                self._spawn_interpreter(self._numbers, theirs)
                return
            if self._ready:
                with contextlib.suppress(ChannelClosed):
                    self._channel.send({"command": "spawn", "child": self._numbers}, theirs.fileno())

    def drop_starting(self) -> None:
        if self._ready:
            # They come, and are sent away.
            return
        for number in list(self._starting):
            self._give_up(number)

    def _give_up(self, number: int) -> None:
        """Announces a child whose other end nobody has: the engine sees that it has hung up."""
        assert self._supervisor is not None
        self._supervisor.add_child(number, self._starting.pop(number).detach(), None, self._options.slots)

    def reap(self) -> None:
        for pid, number in list(self._own.items()):
            try:
                reaped, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                # Somebody else reaps here: it is gone, how is not known.
                reaped, status = pid, 0
            if reaped:
                del self._own[pid]
                self._exited(number, pid, status)
        if self._source.path is not None:
            reap_adopted({self._zygote_pid, *self._own, *self._forked})

    def _announce(self, number: int, pid: int) -> None:
        ours = self._starting.pop(number, None)
        if ours is not None and self._supervisor is not None:
            self._supervisor.add_child(number, ours.detach(), pid, self._options.slots)

    def _exited(self, number: int, pid: int, status: int) -> None:
        if self._supervisor is not None:
            self._supervisor.child_exited(number, pid, status)

    def _spawn_interpreter(self, number: int, theirs: socket.socket) -> None:
        from umbel.pools.spawned import spawn_setup

        self.send_signal("worker_before_create_process")
        setup = spawn_setup(self._source.path or "", number, theirs.fileno(), self._lifeline_read, self._options)
        process = subprocess.Popen(
            [*interpreter(), *self._program("umbel.pools.spawned", setup)],
            pass_fds=(theirs.fileno(), self._lifeline_read),
            cwd=self._source.directory,
        )
        self._own[process.pid] = number
        # Reaped by pid; the object must not do it when it is collected.
        process.returncode = 0
        self._announce(number, process.pid)

    def _program(self, module: str, *arguments: str) -> list[str]:
        """Arguments of an interpreter that runs `main` of a module."""
        return ["-m", module, *arguments]

    # --- the zygote ----------------------------------------------------------------------------------------------

    def _start_zygote(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            if self._source.path is None:
                self._zygote_pid = self._fork_zygote(ours, theirs)
            else:
                command = self._program("umbel.pools.zygote", str(theirs.fileno()), str(self._lifeline_read))
                process = subprocess.Popen([*interpreter(), *command], pass_fds=(theirs.fileno(), self._lifeline_read))
                self._zygote_pid = process.pid
                process.returncode = 0
        self._channel = Channel(ours)

    def _fork_zygote(self, ours: socket.socket, theirs: socket.socket) -> int:
        """For an app that no name leads to: this process has imported it, and has no other thread yet."""
        from umbel.pools.process import leave
        from umbel.pools.zygote import Zygote, running_threads

        threads = running_threads()
        if threads:
            raise AppNotFoundError(
                f"the prefork pool cannot fork a program that runs threads ({', '.join(threads)})",
                "Name the app (umbel -A module worker), or use pool='threads'",
            )
        pid = os.fork()
        if pid == 0:
            ours.close()
            os.close(self._lifeline_write)
            os.setpgid(0, 0)
            leave(Zygote(Channel(theirs), self._lifeline_read, self._source.app).serve)
        return pid

    def _request_load(self) -> None:
        source = self._source
        self._channel.send(
            {
                "command": "load",
                "app": source.path,
                "directory": source.directory,
                "request": asdict(source.request),
            }
        )

    def _loaded(self, message: dict[str, Any]) -> AppDescription:
        description = AppDescription(**message["description"])
        self._note_threads(description.threads)
        self._ready = True
        return description

    def _note_threads(self, names: Sequence[str]) -> None:
        if not names or self._spawning:
            return
        if self._source.path is None:
            raise AppNotFoundError(
                f"the app has started threads ({', '.join(names)}), so it cannot be forked",
                "Name the app (umbel -A module worker), so that children can import it themselves",
            )
        logger.warning(
            "Importing the app started threads (%s), which a fork does not copy: every child imports the app anew, "
            "which takes longer and more memory. Start them in a worker_process_init handler instead.",
            ", ".join(names),
        )
        self._spawning = True

    def _receive(self) -> None:
        try:
            for message, _descriptor in self._channel.receive():
                self._handle(message)
        except ChannelClosed:
            self._zygote_gone()

    def _handle(self, message: dict[str, Any]) -> None:
        event = message["event"]
        if event == "spawned":
            self._pause = _FIRST_PAUSE
            self._forked[message["pid"]] = message["child"]
            self._announce(message["child"], message["pid"])
        elif event == "exited":
            self._forked.pop(message["pid"], None)
            self._exited(message["child"], message["pid"], message["status"])
        elif event == "refused":
            self._refused(message["child"], message["threads"])
        elif event == "loaded":
            assert self._supervisor is not None
            self._supervisor.app_loaded(self._loaded(message))
            self._channel.send({"command": "options", "options": asdict(self._options)})
            for number in list(self._starting):
                self._retry(number)
        elif event == "load-failed":
            logger.error("Fork server cannot import the app: %s\n%s", message["message"], message["detail"])
            self._channel.send({"command": "exit"})

    def _refused(self, number: int, threads: Sequence[str]) -> None:
        """Threads came up in the zygote after the app was imported, by a worker_ready handler for example."""
        if self._source.path is None:
            assert self._supervisor is not None
            self._give_up(number)
            self._supervisor.fail(f"the app has started threads ({', '.join(threads)}), so it can be forked no longer")
            return
        self._note_threads(threads)
        self._retry(number)

    def _retry(self, number: int) -> None:
        """Starts a child again that the zygote refused or took with it."""
        self._starting.pop(number).close()
        self.spawn()

    def _zygote_gone(self) -> None:
        supervisor = self._supervisor
        assert supervisor is not None
        self._ready = False
        supervisor.selector.unregister(self._channel)
        self._channel.close()
        pid, how = self._zygote_pid, self._end_zygote()
        # Its children live on and are ours now.
        self._own.update(self._forked)
        self._forked.clear()
        self.reap()
        if self._closing or supervisor.stopping:
            return
        if self._source.path is None:
            supervisor.restart(f"the fork server (pid {pid}) ended: {how}")
            return
        logger.error("Fork server (pid %d) ended: %s; starting another", pid, how)
        pause, self._pause = self._pause, min(self._pause * 2, _LONGEST_PAUSE)
        supervisor.call_later(0 if pause == _FIRST_PAUSE else pause, self._start_again)

    def _start_again(self) -> None:
        if self._closing or self._supervisor is None or self._supervisor.stopping:
            return
        self._start_zygote()
        self._supervisor.selector.register(self._channel, selectors.EVENT_READ, self._receive)
        self._request_load()

    def _end_zygote(self) -> str:
        """Reaps it and says how it ended. One that has hung up and lives on is of no use."""
        pid, self._zygote_pid = self._zygote_pid, 0
        try:
            os.kill(pid, signal.SIGKILL)
            return describe_status(os.waitpid(pid, 0)[1])
        except (ProcessLookupError, ChildProcessError):
            return "unknown how"

    def _await_zygote(self) -> None:
        """Waits for the zygote to end by itself, which it does once its handlers have run and its children ended."""
        deadline = time.monotonic() + _GOODBYE
        with selectors.DefaultSelector() as selector:
            selector.register(self._channel, selectors.EVENT_READ)
            while (left := deadline - time.monotonic()) > 0:
                if selector.select(left):
                    for message, _descriptor in self._channel.receive():
                        if message["event"] == "exited":
                            self._exited(message["child"], message["pid"], message["status"])


def reap_adopted(known: Collection[int]) -> None:
    """Reaps processes that tasks have left behind and that have ended: this process has adopted them.

    Those `known` are asked for by their pid. Those of this process's own group were started here, by whoever runs the
    worker in a program of his; a fork server, and so what comes of it, has a group of its own.
    """
    with contextlib.suppress(ChildProcessError, ProcessLookupError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if ended.si_pid in known or os.getpgid(ended.si_pid) == os.getpgrp():
                return
            os.waitpid(ended.si_pid, 0)


def interpreter() -> list[str]:
    """This Python with the flags it was started with."""
    return [sys.executable, *subprocess._args_from_interpreter_flags()]  # type: ignore[attr-defined]


def describe_status(status: int) -> str:
    """An exit status as from `os.waitpid`, in words."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exitcode {code}"
    try:
        return f"signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"signal {-code}"
