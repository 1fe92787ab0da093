"""Messages as AMQP has them: properties and a table of headers."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import pika
import pika.data

from umbel.brokers.base import Message

__all__ = ["DEAD", "from_amqp", "to_amqp"]

#: Headers of ours, as the core's own client has them: failed deliveries, handed out before, properties that AMQP has no
#: place for (as JSON), and what those of dead letters begin with.
FAILURES, REDELIVERED, OTHERS, DEAD = "umbel_deliveries", "umbel_redelivered", "umbel_extra", "umbel_dead_"
#: Headers go into one frame, which has 131,072 bytes (as a rule) for them and everything about them.
_MOST_HEADERS = 120_000
#: What RabbitMQ writes into headers as messages wait for their time.
_TRACES = ("x-death", "x-first-death-", "x-last-death-", "x-delivery-count", "x-acquired-count")
#: Properties of AMQP beside those that task messages always have.
_TEXTS = ("message_id", "app_id", "type", "user_id", "cluster_id")


# pika writes no floats into tables, and cuts off what is behind the point where it reads some. Time limits are floats.
_pikas_encode, _pikas_decode = pika.data.encode_value, pika.data.decode_value
_FLOATS = {b"f": ">f", b"d": ">d"}


def _encode_value(pieces: list[bytes], value: Any) -> int:
    if isinstance(value, float):
        pieces.append(struct.pack(">cd", b"d", value))
        return 9
    return int(_pikas_encode(pieces, value))


def _decode_value(encoded: bytes, offset: int) -> tuple[Any, int]:
    form = _FLOATS.get(encoded[offset : offset + 1])
    if form is None:
        found: tuple[Any, int] = _pikas_decode(encoded, offset)
        return found
    return struct.unpack_from(form, encoded, offset + 1)[0], offset + 1 + struct.calcsize(form)


pika.data.encode_value, pika.data.decode_value = _encode_value, _decode_value


def to_amqp(message: Message, **headers: Any) -> tuple[pika.BasicProperties, bytes]:
    """Properties and body; `headers` are added.

    Raises:
        ValueError: Headers cannot be written: they or a name in them are too long, or a number is too large.
    """
    size = len(message.headers_text.encode())
    if size > _MOST_HEADERS:
        raise ValueError(f"the headers have {size} bytes, and RabbitMQ takes {_MOST_HEADERS}: pass less in them")
    table = {**message.headers, **headers}
    given = message.properties
    if message.failures:
        table[FAILURES] = message.failures
    if message.redelivered:
        table[REDELIVERED] = True
    texts = {name: given.pop(name) for name in _TEXTS if isinstance(given.get(name), str)}
    known = {name: given.pop(name, None) for name in ("correlation_id", "reply_to", "delivery_mode", "expiration")}
    priority = given.pop("priority", 0) or 0
    given.pop("delivery_tag", None)
    if given:
        table[OTHERS] = json.dumps(given)
    check_table(table)
    properties = pika.BasicProperties(
        content_type=message.content_type or None,
        content_encoding=message.content_encoding or None,
        headers=table,
        delivery_mode=known["delivery_mode"],
        priority=min(max(int(priority), 0), 255),
        correlation_id=known["correlation_id"],
        reply_to=known["reply_to"],
        expiration=known["expiration"],
        **texts,
    )
    return properties, message.body


def check_table(value: Any, name: str = "headers") -> None:
    """Raises ValueError for what a table of AMQP cannot hold."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if len(str(key).encode()) > 255:
                raise ValueError(f"{name}: the name {str(key)[:40]!r}… has more than the 255 bytes that AMQP allows")
            check_table(inner, f"{name}.{key}")
    elif isinstance(value, list):
        for inner in value:
            check_table(inner, name)
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"{name}: {value} does not fit into the 64 bits that AMQP has for numbers")


def from_amqp(
    properties: pika.BasicProperties, body: bytes, exchange: str, routing_key: str, redelivered: bool = False
) -> Message:
    """The message as the core knows it."""
    table = {str(name): _plain(value) for name, value in (properties.headers or {}).items() if not _is_trace(name)}
    failures = table.pop(FAILURES, 0)
    marked = table.pop(REDELIVERED, None) is not None
    found: dict[str, Any] = _others(table.pop(OTHERS, None))
    for name in ("correlation_id", "reply_to", "delivery_mode", "priority", "expiration", *_TEXTS):
        value = getattr(properties, name)
        if value is not None:
            found[name] = value
    return Message(
        table,
        body,
        properties.content_type or "",
        properties.content_encoding or "",
        found,
        exchange,
        routing_key,
        redelivered or marked,
        failures if isinstance(failures, int) and failures > 0 else 0,
    )


def _others(text: Any) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except (TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_trace(name: object) -> bool:
    return isinstance(name, str) and name.startswith(_TRACES)


def _plain(value: Any) -> Any:
    """As JSON can hold it."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode("utf-8", "backslashreplace")
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    return value
