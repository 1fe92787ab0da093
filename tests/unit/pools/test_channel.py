"""Messages between main process and fork server: any size, cut anywhere, with descriptors in order."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from umbel.pools.channel import Channel, ChannelClosed


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel, socket.socket]]:
    left, right = socket.socketpair()
    pair = Channel(left), Channel(right)
    yield (*pair, left)
    for channel in pair:
        channel.close()


def receive(channel: Channel, count: int) -> list[tuple[dict[str, object], int | None]]:
    found: list[tuple[dict[str, object], int | None]] = []
    while len(found) < count:
        found += channel.receive()
    return found


def test_messages_arrive_whole_and_in_order(ends: tuple[Channel, Channel, socket.socket]) -> None:
    ours, theirs, _ = ends
    sent = [{"number": number, "text": "x" * number} for number in range(50)]
    for message in sent:
        ours.send(message)
    assert [message for message, _ in receive(theirs, 50)] == sent


def test_a_message_larger_than_the_socket_buffer_passes(ends: tuple[Channel, Channel, socket.socket]) -> None:
    ours, theirs, _ = ends
    big = {"text": "y" * 3_000_000}
    sender = threading.Thread(target=ours.send, args=(big,))
    sender.start()
    assert receive(theirs, 1)[0][0] == big
    sender.join()


def test_a_message_cut_at_any_byte_is_put_together(ends: tuple[Channel, Channel, socket.socket]) -> None:
    _, theirs, raw = ends
    body = b'{"event": "x", "descriptor": false}'
    for byte in struct.pack("!I", len(body)) + body:
        raw.sendall(bytes([byte]))
        if byte != ord("}"):
            assert theirs.receive() == []
    assert theirs.receive() == [({"event": "x"}, None)]


def test_descriptors_belong_to_their_messages(ends: tuple[Channel, Channel, socket.socket]) -> None:
    ours, theirs, _ = ends
    pipes = [os.pipe() for _ in range(3)]
    for index, (_, write) in enumerate(pipes):
        ours.send({"plain": index})
        ours.send({"index": index}, write)
        os.close(write)
    for message, descriptor in receive(theirs, 6):
        if "plain" in message:
            assert descriptor is None
            continue
        assert descriptor is not None
        os.write(descriptor, b"%d" % message["index"])
        os.close(descriptor)
    for index, (read, _) in enumerate(pipes):
        assert os.read(read, 10) == b"%d" % index
        os.close(read)


def test_the_other_end_gone_is_said(ends: tuple[Channel, Channel, socket.socket]) -> None:
    ours, theirs, _ = ends
    theirs.close()
    with pytest.raises(ChannelClosed):
        ours.receive()
    with pytest.raises(ChannelClosed):
        ours.send({})
