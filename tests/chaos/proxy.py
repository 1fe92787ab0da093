"""The network between the fleet and its broker: a loopback proxy with a port for each link, in a process of its own.

    python -m chaos.proxy BROKER_PORT LEDGER LINK...

Prints the links' ports as one line of JSON, then follows commands from its standard input, each followed by a link:
`cut` breaks its connections, `blackhole` lets nothing through although connections stay, `refuse` breaks them and
refuses new ones, `open` ends both. What a blackhole held back still arrives afterwards, late, as on a real network.

Ids of tasks in what the broker sends to a link of Celery's are written into the ledger: once Celery's worker has popped
a message, nothing but its own records can bring it back.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
from typing import Any

from chaos.ledger import DELIVERED, Ledger
from chaos.schedule import BLACKHOLE, CELERY, CUT, REFUSE

OPEN = "open"
_TASK_ID = re.compile(rb'"id": "(p[0-9]+-[0-9]+\.[0-9]+)"')
_LONGEST_ID = 64
_PIECE = 65536


class Reader:
    """Finds task ids in a stream that comes in pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def ids(self, piece: bytes) -> list[str]:
        """Those that are complete with this piece."""
        known, text = len(self._rest), self._rest + piece
        found = [match.group(1).decode() for match in _TASK_ID.finditer(text) if match.end() > known]
        self._rest = text[-_LONGEST_ID:]
        return found


class Link:
    """One member's way to the broker."""

    def __init__(self, name: str, broker_port: int, ledger: Ledger) -> None:
        self._name = name
        self._broker_port = broker_port
        self._ledger = ledger if name == CELERY else None
        self._through = asyncio.Event()
        self._through.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def listen(self) -> None:
        """Accepts connections, on the same port as before."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def follow(self, command: str) -> None:
        """Carries out a command."""
        if command == BLACKHOLE:
            self._through.clear()
        if command in (CUT, REFUSE):
            self._break()
        if command == REFUSE and self._server is not None:
            self._server.close()
            self._server = None
        if command == OPEN:
            self._through.set()
            await self.listen()

    def _break(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        await self._through.wait()
        try:
            from_broker, to_broker = await asyncio.open_connection("127.0.0.1", self._broker_port)
        except OSError:
            writer.transport.abort()
        else:
            await asyncio.gather(self._up(reader, to_broker), self._down(from_broker, writer))
            to_broker.close()
        self._writers.discard(writer)

    async def _up(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """From the member to the broker. At its end the broker is told, and what it had already sent is still read."""
        with contextlib.suppress(OSError):
            while piece := await source.read(_PIECE):
                await self._through.wait()
                sink.write(piece)
                await sink.drain()
        with contextlib.suppress(OSError):
            sink.write_eof()

    async def _down(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """From the broker to the member, which may be gone: what was meant for it is written down all the same."""
        found = Reader()
        with contextlib.suppress(OSError):
            while piece := await source.read(_PIECE):
                if self._ledger is not None and (ids := found.ids(piece)):
                    self._ledger.note(DELIVERED, ids, by=self._name)
                await self._through.wait()
                if not sink.is_closing():
                    with contextlib.suppress(OSError):
                        sink.write(piece)
                        await sink.drain()
        sink.close()


async def serve(broker_port: int, ledger: Ledger, names: list[str]) -> None:
    """Runs until the end of input."""
    links = {name: Link(name, broker_port, ledger) for name in names}
    for link in links.values():
        await link.listen()
    sys.stdout.write(json.dumps({name: link.port for name, link in links.items()}) + "\n")
    sys.stdout.flush()
    commands = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        command, name = line.decode().split()
        await links[name].follow(command)


def main() -> None:
    """Follows commands until the end of input."""
    arguments: list[Any] = sys.argv[1:]
    port, path, *names = arguments
    asyncio.run(serve(int(port), Ledger(path, CELERY), names))


if __name__ == "__main__":
    main()
