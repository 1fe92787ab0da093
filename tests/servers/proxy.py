"""A network of its own on loopback: between a client and a server, slow where a test wants it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque


class SlowProxy:
    """Passes everything on to a loopback port, each piece `delay` seconds after it came; counts connections.

    A target that is not there is a connection that ends at once.
    """

    def __init__(self, target: int, delay: float = 0.0) -> None:
        self.connections = 0
        self._target = target
        self._delay = delay
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Ends every connection and takes no more."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Ends every connection."""
        while self._open:
            one = self._open.pop()
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _address = self._listener.accept()
                self.connections += 1
                self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            client.close()
            return
        self._open += [client, server]
        for source, sink in ((client, server), (server, client)):
            source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _Pump(source, sink, self._delay)


class _Pump:
    """One direction of a connection: one thread reads and notes when each piece is due, another writes."""

    def __init__(self, source: socket.socket, sink: socket.socket, delay: float) -> None:
        self._source, self._sink, self._delay = source, sink, delay
        self._pieces: deque[tuple[float, bytes]] = deque()
        self._arrived = threading.Semaphore(0)
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._write, daemon=True).start()

    def _read(self) -> None:
        piece = b"more"
        while piece:
            try:
                piece = self._source.recv(65536)
            except OSError:
                piece = b""
            self._pieces.append((time.monotonic() + self._delay, piece))
            self._arrived.release()

    def _write(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._arrived.acquire()
                due, piece = self._pieces.popleft()
                time.sleep(max(0.0, due - time.monotonic()))
                if not piece:
                    break
                self._sink.sendall(piece)
        with contextlib.suppress(OSError):
            self._sink.shutdown(socket.SHUT_RDWR)
