"""The run's private RabbitMQ."""

from __future__ import annotations

import contextlib
import itertools
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from benches.processes import wait_for

_NODE = Path(__file__).parent.parent / "scripts" / "rabbitmq-node"
#: It takes seconds to start.
_PATIENCE = 60.0


class RabbitServer:
    """A node that runs on `port`; each `clear` makes an empty virtual host in place of the last one."""

    def __init__(self, port: int, folder: Path) -> None:
        self.port = port
        self._folder = folder
        self._numbers = itertools.count(1)
        self._vhost = ""

    def url(self, scheme: str) -> str:
        """Of the present virtual host."""
        return f"{scheme}://guest:guest@127.0.0.1:{self.port}/{self._vhost}"

    def answers(self) -> bool:
        """Whether it accepts connections."""
        try:
            if self._evaluate("rabbit:is_running()") != "true":
                return False
            with socket.create_connection(("127.0.0.1", self.port), 1):
                return True
        except OSError:
            return False

    def clear(self) -> None:
        """Forgets every message and queue."""
        if self._vhost:
            self._evaluate(f'rabbit_vhost:delete(<<"{self._vhost}">>, <<"bench">>)')
        self._vhost = f"bench-{next(self._numbers)}"
        self._evaluate(f'rabbit_vhost:add(<<"{self._vhost}">>, <<"bench">>)')
        everything = ", ".join(['<<".*">>'] * 3)
        grant = "rabbit_auth_backend_internal:set_permissions"
        self._evaluate(f'{grant}(<<"guest">>, <<"{self._vhost}">>, {everything}, <<"bench">>)')

    def version(self) -> str:
        """Its version."""
        return self._evaluate("rabbit_misc:version()").strip('"')

    def _evaluate(self, expression: str) -> str:
        """What an expression of Erlang is worth in the node. Raises OSError."""
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(_PATIENCE)
            control.connect(str(self._folder / "control"))
            control.sendall(f"{expression}.\n".encode())
            answer = control.makefile().readline().strip()
        if answer.startswith("error:"):
            raise OSError(f"RabbitMQ: {expression}: {answer}")
        return answer


@contextlib.contextmanager
def private_rabbitmq(folder: Path) -> Iterator[RabbitServer]:
    """A node on free loopback ports, with its data in `folder`, which goes with it."""
    folder.mkdir()
    ports = [_free_port() for _ in range(3)]
    command = [str(_NODE), str(folder), *map(str, ports)]
    # It ends when its standard input is closed.
    keeper = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        server = RabbitServer(ports[0], folder)
        wait_for(server.answers, _PATIENCE, "RabbitMQ answers")
        yield server
    finally:
        assert keeper.stdin is not None
        keeper.stdin.close()
        keeper.wait(_PATIENCE)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
