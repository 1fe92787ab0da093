"""Queues, exchanges and bindings, declared exactly as Celery declares them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from umbel.brokers.base import BrokerSettings
from umbel.brokers.pika.link import ChannelError, Link

__all__ = ["Topology"]

logger = logging.getLogger("umbel.brokers.pika")

#: Reply code for a queue or exchange that is there with other arguments.
_DIFFERENT = 406
#: How much longer than its messages a queue for delays stays after it was last used (ms).
_SPARE = 600_000
#: Up to each span (ms) delays are cut to steps of that width; longer ones to two digits. The rest is waited for after.
_STEPS = ((10_000, 100), (600_000, 1_000))
#: The longest that RabbitMQ keeps time for, nearly (ms): after it the rest is another delay.
_LONGEST = 2_000_000_000


def steps_of(milliseconds: int) -> int:
    """The delay that there is a queue for: as long or a little shorter."""
    wide = 10 ** max(len(str(milliseconds)) - 2, 0)
    step = next((step for limit, step in _STEPS if milliseconds <= limit), wide)
    return min(milliseconds // step * step, _LONGEST)


class Topology:
    """What one link has declared; it is all declared once more after the link was lost."""

    def __init__(self, settings: BrokerSettings) -> None:
        queues: list[Mapping[str, Any]] = list(settings.get("task_queues") or ())
        self._known = {queue["name"]: queue for queue in queues}
        self._default_type = settings.get("task_create_missing_queue_type")
        self._max_priority = settings.get("task_queue_max_priority")
        self._declared: set[tuple[str, ...]] = set()

    def forget(self) -> None:
        """The link is another one."""
        self._declared.clear()

    def queue(self, link: Link, name: str) -> None:
        """A task queue with its exchange and binding."""
        if ("queue", name) in self._declared:
            return
        known = self._known.get(name) or {}
        exchange, key = known.get("exchange") or name, known.get("routing_key") or name
        self.exchange(link, exchange, known.get("kind") or "direct")
        try:
            self._declare_queue(link, name, known)
        except ChannelError as error:
            if error.code != _DIFFERENT:
                raise
            # Whoever made it had their reasons; what matters is that it is there.
            logger.warning("Queue %r is used as it is, with other arguments than it is declared with: %s", name, error)
            link.call(link.channel.queue_declare, name, passive=True)
        link.call(link.channel.queue_bind, name, exchange, routing_key=key)
        self._declared.add(("queue", name))

    def _declare_queue(self, link: Link, name: str, known: Mapping[str, Any]) -> None:
        arguments = dict(known.get("arguments") or {})
        if not known and self._default_type == "quorum":
            arguments["x-queue-type"] = "quorum"
        if self._max_priority is not None and arguments.get("x-queue-type") != "quorum":
            arguments.setdefault("x-max-priority", self._max_priority)
        link.call(
            link.channel.queue_declare,
            name,
            durable=known.get("durable", True),
            exclusive=known.get("exclusive", False),
            auto_delete=known.get("auto_delete", False),
            arguments=arguments or None,
        )

    def exchange(self, link: Link, name: str, kind: str, durable: bool = True) -> None:
        """An exchange. One that is there as another kind is used as it is."""
        if not name or ("exchange", name) in self._declared:
            return
        try:
            link.call(link.channel.exchange_declare, name, exchange_type=kind, durable=durable)
        except ChannelError as error:
            if error.code != _DIFFERENT:
                raise
            link.call(link.channel.exchange_declare, name, passive=True)
        self._declared.add(("exchange", name))

    def bound(self, link: Link, exchange: str) -> None:
        """The queues of the settings that are reached through `exchange`."""
        for queue in self._known.values():
            if queue["exchange"] == exchange:
                self.queue(link, queue["name"])

    def delay(self, link: Link, queue: str, seconds: float) -> str:
        """Name of a queue from which messages go to `queue` after that time, or a little earlier."""
        self.queue(link, queue)
        span = steps_of(int(seconds * 1000))
        if span <= 0:
            return queue
        name = f"umbel.delay.{span}.{queue}"
        arguments = {
            "x-message-ttl": span,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": queue,
            # It goes when nobody has put anything into it for so long that nothing can be in it. Each declaration
            # counts, which is why it is not remembered.
            "x-expires": span + _SPARE,
        }
        link.call(link.channel.queue_declare, name, durable=True, arguments=arguments)
        return name
