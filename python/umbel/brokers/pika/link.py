"""A connection and its channel, spoken to as if pika answered at once."""

from __future__ import annotations

import contextlib
import logging
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

import pika
from pika import exceptions
from pika.adapters.select_connection import IOLoop, SelectConnection
from pika.channel import Channel
from pika.credentials import ExternalCredentials

from umbel.brokers.base import AccessRefused, BrokerSettings, Unavailable
from umbel.exceptions import ImproperlyConfigured, OperationalError

__all__ = ["ChannelError", "Link", "connection_parameters"]

# What is worth knowing is raised; pika would log it once more, in its own words.
logging.getLogger("pika").setLevel(logging.CRITICAL)

#: How long the server may take to answer (seconds).
PATIENCE = 20.0

#: Reply codes of AMQP.
_REFUSED, _NOT_FOUND = 403, 404


class ChannelError(Exception):
    """The server closed the channel: the call cannot be carried out."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text

    @property
    def is_missing(self) -> bool:
        """Whether a queue or exchange is not there."""
        return self.code == _NOT_FOUND


def connection_parameters(url: str, settings: BrokerSettings, heartbeat: int) -> list[pika.ConnectionParameters]:
    """Of each server that `url` names. Raises ImproperlyConfigured."""
    return [_parameters(one, settings, heartbeat) for one in url.split(";") if one]


def _parameters(url: str, settings: BrokerSettings, heartbeat: int) -> pika.ConnectionParameters:
    options: Mapping[str, Any] = settings.get("broker_transport_options") or {}
    parts = urlsplit(url.replace("+pika://", "://", 1))
    try:
        port = parts.port
    except ValueError as error:
        raise ImproperlyConfigured(f"amqp+pika://: {error}") from error
    secure = parts.scheme == "amqps" or bool(options.get("ssl"))
    host = parts.hostname or "localhost"
    # `amqp://h//` and `amqp://h` both mean the virtual host `/`.
    vhost = unquote(parts.path[1:]) or "/"
    credentials: Any = pika.PlainCredentials(unquote(parts.username or "guest"), unquote(parts.password or "guest"))
    if str(settings.get("broker_login_method") or "PLAIN").upper() == "EXTERNAL":
        credentials = ExternalCredentials()
    timeout = float(settings.get("broker_connection_timeout") or 4)
    return pika.ConnectionParameters(
        host=host,
        port=port or (5671 if secure else 5672),
        virtual_host=vhost,
        credentials=credentials,
        heartbeat=heartbeat,
        ssl_options=pika.SSLOptions(_tls(options), host) if secure else None,
        socket_timeout=timeout,
        stack_timeout=2 * timeout,
        blocked_connection_timeout=PATIENCE,
        connection_attempts=1,
        client_properties={"product": "umbel", "connection_name": "umbel"},
    )


def _tls(options: Mapping[str, Any]) -> ssl.SSLContext:
    """With the names Celery's users know from `broker_use_ssl`."""
    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
    try:
        if options.get("ssl_certfile"):
            context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
    except OSError as error:
        raise ImproperlyConfigured(f"ssl_certfile: {error}") from error
    wanted = str(options.get("ssl_cert_reqs", "required")).lower()
    if wanted in ("0", "none", "cert_none", "verifymode.cert_none"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class Link:
    """Opened at once; to be used by one thread at a time."""

    #: The present one.
    channel: Channel

    def __init__(self, servers: Sequence[pika.ConnectionParameters]) -> None:
        """Tries the servers in order. Raises OperationalError, AccessRefused."""
        #: Counts channels: what was said of a message on an earlier one is worth nothing.
        self.epoch = 0
        #: Told of each new channel, before it is used.
        self.on_channel: Callable[[Channel], None] = lambda channel: None
        self._loop = IOLoop()
        self._loop.activate_poller()
        self._failure: BaseException | None = None
        self._channel_failure: ChannelError | None = None
        self._blocked = False
        self._released = False
        problem: Exception = OperationalError("no server is named")
        for server in servers:
            try:
                self._connection = self._connect(server)
                self._open_channel()
                return
            except OperationalError as error:
                problem = error
        self._release()
        raise problem

    # --- the loop

    def run(self, done: Callable[[], bool], timeout: float = PATIENCE) -> bool:
        """Runs the loop until `done` or for `timeout` seconds; says whether it is done.

        Raises:
            ChannelError: The server closed the channel; another one is open.
            OperationalError: The connection is lost.
        """
        late: list[bool] = []
        self._check()
        if done():
            return True
        timer = self._loop.call_later(max(timeout, 0.0), lambda: late.append(True))
        try:
            while not done() and not late:
                self._turn()
        finally:
            self._loop.remove_timeout(timer)
        return done()

    def look(self) -> None:
        """Reads and writes what is there to be read and written, without waiting."""
        late: list[bool] = []
        self._check()
        self._loop.call_later(0, lambda: late.append(True))
        while not late:
            self._turn()

    def _turn(self) -> None:
        try:
            self._loop.poll()
            self._loop.process_timeouts()
        except exceptions.AMQPError as error:
            raise self._lost(error) from error
        self._check()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._lost(self._failure)
        if self._channel_failure is not None:
            failure, self._channel_failure = self._channel_failure, None
            self._open_channel()
            raise failure

    def _lost(self, error: BaseException) -> OperationalError:
        self._failure = error
        return _meaning(error)

    def call(self, method: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        """Calls a method of the channel that takes `callback`, and waits for the answer. Raises as `run`."""
        answers: list[Any] = []
        method(*arguments, callback=answers.append, **keywords)
        if not self.run(lambda: bool(answers)):
            if self._blocked:
                raise Unavailable("RabbitMQ has blocked this connection: it is short of memory or disk")
            raise self._lost(OperationalError(f"RabbitMQ has not answered within {PATIENCE:g} s"))
        return answers[0]

    @property
    def is_blocked(self) -> bool:
        """Whether the server takes no messages on this connection for now."""
        return self._blocked

    @contextlib.contextmanager
    def watched(self, descriptor: int, on_readable: Callable[[], None]) -> Iterator[None]:
        """Has the loop look at another descriptor as well."""
        self._loop.add_handler(descriptor, lambda _descriptor, _events: on_readable(), IOLoop.READ)
        try:
            yield
        finally:
            self._loop.remove_handler(descriptor)

    # --- opening and closing

    def _connect(self, server: pika.ConnectionParameters) -> SelectConnection:
        opened: list[Any] = []
        self._failure = None
        connection = SelectConnection(
            server,
            on_open_callback=opened.append,
            on_open_error_callback=lambda _connection, error: self._lost(_as_error(error)),
            on_close_callback=lambda _connection, error: self._lost(_as_error(error)),
            custom_ioloop=self._loop,
        )
        if not self.run(lambda: bool(opened), 2 * float(server.socket_timeout or PATIENCE) + 1):
            raise self._lost(OperationalError(f"{server.host}:{server.port} has not answered"))
        connection.add_on_connection_blocked_callback(lambda *_: setattr(self, "_blocked", True))
        connection.add_on_connection_unblocked_callback(lambda *_: setattr(self, "_blocked", False))
        return connection

    def _open_channel(self) -> None:
        opened: list[Channel] = []
        self._connection.channel(on_open_callback=opened.append)
        if not self.run(lambda: bool(opened)):
            raise self._lost(OperationalError("RabbitMQ does not open a channel"))
        self.channel = opened[0]
        self.channel.add_on_close_callback(self._channel_closed)
        self.epoch += 1
        self.on_channel(self.channel)

    def _channel_closed(self, _channel: Channel, reason: Exception) -> None:
        if isinstance(reason, exceptions.ChannelClosedByBroker):
            self._channel_failure = ChannelError(reason.reply_code, reason.reply_text)

    def close(self) -> None:
        """Says goodbye if the server still listens; never raises."""
        if self._failure is None and not self._released:
            with contextlib.suppress(Exception):
                self._connection.close()
                # Its answer ends the connection, which is told as an error.
                deadline = time.monotonic() + 2
                while self._failure is None and time.monotonic() < deadline:
                    self.run(lambda: self._failure is not None, 2)
        self._release()

    def _release(self) -> None:
        self._released = True
        with contextlib.suppress(Exception):
            self._loop.deactivate_poller()
            self._loop.close()


def _as_error(error: object) -> BaseException:
    return error if isinstance(error, BaseException) else OperationalError(str(error))


def _meaning(error: BaseException) -> OperationalError:
    """The error for the core."""
    if isinstance(error, OperationalError):
        return error
    text = _text(error)
    refused = (
        exceptions.ProbableAuthenticationError,
        exceptions.AuthenticationError,
        exceptions.ProbableAccessDeniedError,
    )
    code = getattr(error, "reply_code", None)
    if isinstance(error, refused) or code == _REFUSED:
        return AccessRefused(text)
    return OperationalError(text)


def _text(error: BaseException) -> str:
    """Innermost words: pika wraps what the operating system says in layers of its own."""
    inner = getattr(error, "exceptions", None) or error.args
    causes = [part for part in inner if isinstance(part, BaseException)] if isinstance(inner, (list, tuple)) else []
    if causes:
        return _text(causes[-1])
    return str(error) or type(error).__name__
