"""Messages between the worker's main process and its fork server.

JSON objects with a length in front, over a stream socket; a message may carry one file descriptor.
"""

from __future__ import annotations

import json
import socket
import struct
from collections import deque
from collections.abc import Mapping
from typing import Any

_LENGTH = struct.Struct("!I")
_CHUNK = 65536
# Descriptors that may arrive with one read; more than this are never in flight between two reads of a zygote.
_MAX_DESCRIPTORS = 64


class ChannelClosed(EOFError):
    """The other end is gone."""


class Channel:
    """One end. Not thread-safe: one thread sends and receives."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._buffer = bytearray()
        self._descriptors: deque[int] = deque()

    def fileno(self) -> int:
        """Readable while `receive` would not block."""
        return self._socket.fileno()

    def send(self, message: Mapping[str, Any], descriptor: int | None = None) -> None:
        """Writes one message; blocks until it is written.

        Raises:
            ChannelClosed: The other end is gone.
        """
        body = json.dumps({**message, "descriptor": descriptor is not None}, default=str).encode()
        frame = _LENGTH.pack(len(body)) + body
        try:
            if descriptor is not None:
                sent = socket.send_fds(self._socket, [frame], [descriptor])
                frame = frame[sent:]
            self._socket.sendall(frame)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ChannelClosed("the process at the other end is gone") from error

    def receive(self) -> list[tuple[dict[str, Any], int | None]]:
        """Reads once (blocking if nothing is there) and returns the messages that are complete now, maybe none.

        The caller owns the descriptors.

        Raises:
            ChannelClosed: The other end is gone.
        """
        try:
            data, descriptors, _flags, _address = socket.recv_fds(self._socket, _CHUNK, _MAX_DESCRIPTORS)
        except ConnectionResetError as error:
            raise ChannelClosed("the process at the other end is gone") from error
        self._descriptors.extend(descriptors)
        if not data:
            raise ChannelClosed("the process at the other end is gone")
        self._buffer += data
        return self._complete()

    def close(self) -> None:
        """Closes this end and the descriptors nobody took."""
        self._socket.close()
        while self._descriptors:
            socket.close(self._descriptors.popleft())

    def _complete(self) -> list[tuple[dict[str, Any], int | None]]:
        messages: list[tuple[dict[str, Any], int | None]] = []
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                break
            message = json.loads(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            descriptor = self._descriptors.popleft() if message.pop("descriptor") else None
            messages.append((message, descriptor))
        return messages
