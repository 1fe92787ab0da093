"""A private RabbitMQ: own ports, own folder, own Erlang cookie and port mapper, gone afterwards."""

from __future__ import annotations

import itertools
import re
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from servers.own_server import free_port, require_program

_NODE = Path(__file__).parents[2] / "scripts" / "rabbitmq-node"
_DEADLINE = 60.0


def require_rabbitmq() -> str:
    """Path of the program; without it tests are skipped on a laptop and fail in CI."""
    return require_program("rabbitmq-server", "/usr/lib/rabbitmq/bin")


class RabbitServer:
    """Runs from construction to `stop`. It takes seconds to start: tests share one, with virtual hosts of their own."""

    def __init__(self) -> None:
        require_rabbitmq()
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="umbel-rabbitmq-"))
        self._vhosts = itertools.count(1)
        ports = [str(port) for port in (self.port, free_port(), free_port())]
        self._keeper = subprocess.Popen(
            [str(_NODE), str(self._folder), *ports], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._wait_until_up()

    def url(self, vhost: str = "/") -> str:
        """For the broker: `amqp://`, as the user `guest`."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/{vhost.replace('/', '%2f')}"

    def new_vhost(self) -> str:
        """Makes an empty virtual host, and says its name."""
        name = f"tests-{next(self._vhosts)}"
        self.check(f'rabbit_vhost:add(<<"{name}">>, <<"tests">>)')
        everything = ", ".join(['<<".*">>'] * 3)
        grant = "rabbit_auth_backend_internal:set_permissions"
        self.check(f'{grant}(<<"guest">>, <<"{name}">>, {everything}, <<"tests">>)')
        return name

    def drop_vhost(self, name: str) -> None:
        """Removes it with all that is in it; connections to it are closed."""
        self.evaluate(f'rabbit_vhost:delete(<<"{name}">>, <<"tests">>)')

    def queue_lengths(self, vhost: str) -> dict[str, int]:
        """Messages of each queue, ready and held ones, once nobody publishes."""
        listing = (
            f'[[Name, ":", integer_to_list(N), " "] || [{{name, {{_, _, _, Name}}}}, {{messages, N}}] '
            f'<- rabbit_amqqueue:info_all(<<"{vhost}">>, [name, messages])]'
        )
        text = self.evaluate(f"binary_to_list(iolist_to_binary({listing}))").strip('"')
        return {name: int(count) for name, count in re.findall(r"(\S+):(\d+) ", text)}

    def evaluate(self, expression: str) -> str:
        """What an expression of Erlang is worth, evaluated in the node: `rabbit:stop()`."""
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(_DEADLINE)
            control.connect(str(self._folder / "control"))
            control.sendall(f"{' '.join(expression.rstrip('. ').split())}.\n".encode())
            answer = control.makefile().readline().strip()
        assert not answer.startswith("error:"), f"{expression}: {answer}"
        return answer

    def check(self, expression: str) -> None:
        """Evaluates what should be `ok`."""
        answer = self.evaluate(expression)
        assert answer == "ok", f"{expression}: {answer}"

    def kill(self) -> None:
        """Ends the node as a power cut would. What it had written to its files stays."""
        self._tell("kill")

    def start(self) -> None:
        """Starts it again on the same port and files."""
        self._tell("start")
        self._wait_until_up()

    def stop(self) -> None:
        """Ends it and removes its folder."""
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        self._keeper.stdin.close()
        self._keeper.wait(30)
        self._keeper.stdout.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _tell(self, word: str) -> None:
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        self._keeper.stdin.write(f"{word}\n")
        self._keeper.stdin.flush()
        assert self._keeper.stdout.readline() == f"{word}\n"

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + _DEADLINE
        while True:
            try:
                if self.evaluate("rabbit:is_running()") == "true" and self._listens():
                    return
            except (OSError, AssertionError):
                pass
            if time.monotonic() > deadline or self._keeper.poll() is not None:
                output = self._folder / "output"
                said = output.read_text(errors="replace")[-3000:] if output.exists() else ""
                self.stop()
                raise AssertionError(f"RabbitMQ did not start: {said}")
            time.sleep(0.02)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
