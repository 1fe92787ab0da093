"""The Rust core as Python sees it.

Importing the module starts no thread; threads start at first use. Every blocking call releases the GIL and
lets signal handlers run. After a fork the objects of the parent are unusable in the child (they raise
`ForkedError`, a `RuntimeError`) except where a docstring says otherwise.

Durations are seconds, moments are seconds since the epoch, sizes are bytes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypedDict, final, type_check_only

from typing_extensions import Required

__version__: str

# --- errors: one Python class per meaning; `umbel.exceptions` re-exports them under Celery's names ---------------

class NativeError(Exception): ...
class ConnectionLostError(NativeError): ...  # -> umbel.exceptions.OperationalError
class UnavailableError(NativeError): ...  # -> umbel.exceptions.OperationalError
class AccessError(NativeError): ...  # -> umbel.exceptions.OperationalError
class UnroutableError(NativeError): ...
class ConfigError(NativeError): ...  # -> umbel.exceptions.ImproperlyConfigured
class ProtocolError(NativeError): ...
class MalformedError(NativeError): ...  # -> umbel.exceptions.DecodeError
class ForkedError(RuntimeError): ...

# --- codec ------------------------------------------------------------------------------------------------------

def json_dumps(value: object, /) -> bytes:
    """Celery's JSON with kombu's extended types, written from Python objects directly.

    The bytes are those of `json.dumps` with kombu's encoder. Types it does not know are asked for `__json__`, then
    given to the hook of `set_json_fallback`. Raises TypeError for what JSON cannot hold, ValueError for circular or
    too deep values.
    """

def json_success(
    task_id: str,
    result: object,
    children: object,
    date_done: str,
    group: str | None = None,
    parent_id: str | None = None,
    /,
) -> bytes:
    """The JSON result record of a task that succeeded; raises what `json_dumps` raises."""

def json_loads(data: bytes | str, /) -> Any:
    """The reverse, extended types included. Raises `MalformedError`, the cause attached if Python code raised it."""

def set_json_fallback(default: Any, object_hook: Any, /) -> None:
    """Installs Python hooks: `default(obj)` for unknown types when writing, `object_hook(type, value)` for unknown
    `__type__` names when reading. None removes a hook."""

def argument_repr(args: object, kwargs: object, /) -> tuple[str, str]:
    """`argsrepr` and `kwargsrepr` as Celery limits them (1024 characters, depth 3)."""

def compress(data: bytes, method: str, /) -> tuple[bytes, str]:
    """Compresses with an alias or MIME name (`zlib`, `gzip`, `bzip2`, `zstd`); returns the bytes and the header
    value. Raises KeyError for others."""

def decompress(data: bytes, method: str, /, limit: int = 67_108_864) -> bytes:
    """The reverse of `compress`. Raises `MalformedError`, also for more than `limit` bytes of output; KeyError for
    methods that Python must undo (lzma, brotli, unknown ones)."""

def parse_iso8601(text: str, /) -> tuple[float, bool]:
    """Seconds since the epoch (naive text read as UTC) and whether the text was naive."""

def record_is_success(record: bytes, /) -> bool:
    """Whether a result record says SUCCESS, in any of Celery's serializers, compressed or not."""

def set_clock_offset(seconds: float) -> None:
    """Sets how far the clock of brokers, stores and engines in this process is from the machine's; for tests."""

def uuid4() -> str:
    """A random task id; safe after fork."""

# --- brokers in Python: `umbel.brokers.base` has their contract ---------------------------------------------------

@final
class Message:
    """A message between Python and the core. It does not change."""

    def __new__(
        cls,
        headers: str | Mapping[str, object],
        body: bytes,
        content_type: str = "application/json",
        content_encoding: str = "utf-8",
        properties: Mapping[str, object] | None = None,
        exchange: str = "",
        routing_key: str = "",
        redelivered: bool = False,
        failures: int = 0,
    ) -> Message:
        """`headers` as JSON text or as a mapping. `properties`: correlation_id, reply_to, delivery_mode, priority,
        expiration, delivery_tag and others. `exchange` and `routing_key`: where the producer sent it. Raises
        TypeError, ValueError for what JSON cannot hold."""

    @staticmethod
    def from_envelope(raw: bytes, /) -> Message:
        """Reads kombu's envelope: the JSON object that is a message on Redis. Raises `MalformedError`."""

    def to_envelope(self, delivery_tag: str, /) -> bytes:
        """As kombu's envelope, marks included."""

    def marked(self, redelivered: bool, failures: int) -> Message:
        """The same message with other marks."""

    @property
    def headers(self) -> dict[str, Any]:
        """Made anew each time. Raises `MalformedError` if they are no JSON object."""

    @property
    def headers_text(self) -> str:
        """As JSON, the way they came."""

    @property
    def body(self) -> bytes: ...
    @property
    def content_type(self) -> str: ...
    @property
    def content_encoding(self) -> str: ...
    @property
    def properties(self) -> dict[str, Any]:
        """Those that there are; made anew each time."""

    @property
    def priority(self) -> int:
        """0 if it has none."""

    @property
    def exchange(self) -> str: ...
    @property
    def routing_key(self) -> str: ...
    @property
    def redelivered(self) -> bool:
        """Whether it was handed out before."""

    @property
    def failures(self) -> int:
        """How often a delivery of it ended with a dead child or worker."""

@final
class Outgoing:
    """A message on its way out."""

    @property
    def exchange(self) -> str:
        """ "" for the queue that `routing_key` names."""

    @property
    def routing_key(self) -> str: ...
    @property
    def message(self) -> Message: ...
    @property
    def eta(self) -> float | None:
        """When it is due."""

@final
class Settlement:
    """The end of one delivery; `umbel.brokers.base.Consumer.settle` says what each action means."""

    @property
    def tag(self) -> str | None: ...
    @property
    def action(self) -> Literal["ack", "requeue", "delay", "dead"]: ...
    @property
    def front(self) -> bool: ...
    @property
    def failed(self) -> bool: ...
    @property
    def until(self) -> float: ...
    @property
    def kind(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def publish(self) -> list[Outgoing]: ...
    @property
    def releases(self) -> list[tuple[str, str]]: ...

def broker_schemes() -> list[str]:
    """Schemes of the brokers that are in the core."""

def conformance_cases() -> list[tuple[str, list[str]]]:
    """Name of each case of the broker suite, and the capabilities it is about."""

def run_conformance_case(name: str, fixture: object) -> None:
    """Runs a case on a `umbel.testing.conformance.BrokerFixture`. Raises AssertionError; KeyError for an unknown name."""

# --- client -----------------------------------------------------------------------------------------------------

@type_check_only
class ChordDict(TypedDict, total=False):
    """Only `group`: the chord is over. All: a part is counted, and the message goes out if it was the last one, with
    the members' result tuples in place of the text "umbel:chord-members" in its JSON body."""

    group: Required[str]
    task_id: str
    index: int | None
    part: bytes  # Celery's `[1, id, state, result]`
    expires: float | None

@type_check_only
class MessageDict(TypedDict, total=False):
    """One message for `Client.publish`."""

    headers: Required[Mapping[str, object]]
    body: Required[bytes]
    content_type: str
    content_encoding: str
    properties: Mapping[str, object]  # correlation_id, reply_to, delivery_mode, priority, expiration, others
    exchange: Required[str]
    routing_key: Required[str]
    eta: float | None  # when due; lets a store keep it until then
    line: str  # those of different lines of a queue are served alike
    chord: ChordDict | None  # for `ChildLink.finish`: what it does to a chord, or waits for

@type_check_only
class DeadLetterDict(TypedDict):
    id: str
    queue: str
    kind: str
    reason: str
    at: float
    headers: dict[str, Any] | None
    properties: dict[str, Any] | None
    body: bytes
    content_type: str
    content_encoding: str

@type_check_only
class WaitingDict(TypedDict):
    due: float | None  # of a delayed message
    headers: dict[str, Any] | None
    properties: dict[str, Any] | None
    body: bytes
    content_type: str
    content_encoding: str

#: Content type, content encoding and body.
_Content: TypeAlias = tuple[str, str, bytes]

@final
class Client:
    """Publishes and waits for results. Thread-safe; usable after fork (it connects anew in the child)."""

    def __new__(cls, broker_url: str, result_url: str | None, options: Mapping[str, object]) -> Client:
        """Connects at first use. Options: `publish_timeout` (default 10; None: for ever; bounds every call but
        `wait_result`), `broker_transport_options`, `result_backend_transport_options`, `open_broker` and
        `open_results` (callables that return the broker and the result store, where they are Python objects; see
        `umbel.brokers` and `umbel.backends`), `reply_options` (a callable that tells how results are sent to whoever asked:
        `reply_to`, the queue of this process, `content_type`, `content_encoding`, `persistent`). Others are ignored.
        Raises `ConfigError` for a URL or option that cannot be used."""

    @property
    def broker_url(self) -> str:
        """Without password."""

    @property
    def result_url(self) -> str | None: ...
    def publish(
        self, messages: Sequence[MessageDict], timeout: float | None = None, patience: float | None = None
    ) -> None:
        """Sends all, in order, and returns when confirmed. Calls of many threads share round trips. Reconnects and
        repeats until `timeout` (None: the option `publish_timeout`), or until an error that comes `patience` or more
        after the first (None: that does not matter, 0: one try). Then raises the last error: any of the messages may
        have been sent by then."""

    def publish_once(
        self,
        message: MessageDict,
        name: str,
        owner: str,
        life: float,
        replace: bool,
        timeout: float | None = None,
        patience: float | None = None,
    ) -> tuple[Literal["published", "refused"], str | None]:
        """Sends a message and takes the lock `name` for `owner` in one step, unless another has it and is to keep it
        (`replace`). Tells whether it was published, and the other owner."""

    def bind(
        self,
        queue: str,
        exchange: str,
        routing_key: str,
        kind: Literal["direct", "topic", "fanout"],
        timeout: float | None = None,
        patience: float | None = None,
    ) -> None: ...
    def store_result(self, task_id: str, state: str, record: bytes, expires: float | None) -> None: ...
    def read_results(self, task_ids: Sequence[str], /) -> list[bytes | None]: ...
    def forget_results(self, task_ids: Sequence[str], /) -> int: ...
    def remove_expired_results(self) -> int: ...
    def start_chord(self, group: str, size: int, expires: float | None) -> None:
        """A chord begins, or begins anew: its body is due once `size` parts are counted."""

    def extend_chord(self, group: str, /) -> None:
        """A chord waits for one more part."""

    def chord_parts(self, group: str, /) -> list[bytes]:
        """The parts of a chord, in the order of their places."""

    def end_chord(self, group: str, /) -> None:
        """Forgets the parts of a chord."""

    def wait_result(self, task_id: str, seen: bytes | None, timeout: float | None, /) -> bytes | None:
        """Blocks until the stored record differs from `seen`; None on timeout (None: for ever). One listener serves
        all waits. Raises the store's error if it is out of reach when time is up, or for more than 30 s."""

    def stream(self, task_ids: Sequence[str], /) -> ResultStream:
        """Waits for many ids in one thread: subscribed and read in a few batches. Raises as `wait_result`."""

    def watch(self, task_id: str, /) -> None:
        """Asks that records of this id (the present one included) be handed out by `drain`."""

    def unwatch(self, task_id: str, /) -> None: ...
    def fileno(self) -> int:
        """Readable while `drain` has something (for `loop.add_reader`)."""

    def drain(self) -> list[tuple[str, bytes]]:
        """The latest record of each watched id that has a new one since the last call. Raises the store's error
        while it is out of reach for more than 30 s, or once if it refuses; ids stay watched."""

    def queue_length(self, queue: str, /) -> int: ...
    def peek(self, queue: str, limit: int = 100) -> list[WaitingDict]:
        """Up to `limit` messages that nobody holds: ready ones in the order of service, then delayed ones."""

    def purge(self, queue: str, /) -> int: ...
    def dead_letters(self, offset: int = 0, limit: int = 100) -> list[DeadLetterDict]: ...
    def dead_letter(self, id: str, /) -> DeadLetterDict | None: ...
    def dead_replay(self, ids: Sequence[str], /) -> int: ...
    def dead_purge(self, ids: Sequence[str] | None, /) -> int: ...
    def revoke(self, ids: Sequence[str], stamps: Sequence[tuple[str, str]], until: float) -> None:
        """Tasks are not to run until `until`: kept in the broker, for workers of now and later."""

    def revoked(self) -> list[str]:
        """Ids of tasks that the broker knows to be revoked, sorted."""

    def broadcast(self, exchange: str, headers: str, content: _Content) -> None:
        """Says something to everybody who listens on `exchange` now."""

    def open_box(self, exchange: str, routing_key: str) -> None:
        """Opens a box for answers."""

    def collect(self, exchange: str, routing_key: str, timeout: float) -> list[tuple[str, str, str, bytes]]:
        """Takes the answers out of a box, waiting for one up to `timeout` seconds: headers, content type, content
        encoding and body of each."""

    def close_box(self, exchange: str, routing_key: str) -> None:
        """Closes a box and forgets what is in it."""

    def advice(self) -> list[str]:
        """What is wrong with the way the broker's server is set up, for people; empty as a rule."""

    def ping(self) -> None:
        """Raises what `publish` would raise if the broker cannot be reached."""

    def close(self) -> None:
        """Closes connections and ends the listener thread; a later call connects anew. Remove `fileno()` from event
        loops before."""

@final
class ResultStream:
    """Records of many ids as they come, the present ones included. Thread-safe; `Client.stream` makes one."""

    def add(self, task_ids: Sequence[str], /) -> None:
        """Waits for these as well; those it has waited for all along are passed over."""

    def remove(self, task_ids: Sequence[str], /) -> None: ...
    def next(self, timeout: float | None, /) -> list[tuple[str, bytes]]:
        """Blocks for records that were not returned yet, of every state, in the order in which they came. Empty on
        timeout and once it is closed. Raises as `Client.wait_result`."""

    def close(self) -> None:
        """Ends all waiting. Happens by itself when the object goes."""

# --- worker, main process ---------------------------------------------------------------------------------------

@type_check_only
class TaskDict(TypedDict, total=False):
    """What the engine must know of a registered task."""

    name: Required[str]
    acks_late: bool
    acks_on_failure: bool
    acks_on_timeout: bool
    reject_on_worker_lost: bool
    ignore_result: bool
    store_errors_even_if_ignored: bool
    time_limit: float | None
    soft_time_limit: float | None
    rate_limit: float  # a second; 0: without limit
    rate_limit_shared: bool  # the limit is that of all workers together
    concurrency_limit: int | None  # so many at a time, in all workers together
    concurrency_keyed: bool  # that holds for each key, which messages tell
    fair: bool  # its messages may stand in lines
    flush_every: int  # so many calls at most are run as one
    flush_interval: float  # seconds until fewer are
    unique: bool  # its messages may hold locks
    tells_failures: bool  # code is to be called when it fails, also where its child cannot do that any more

@final
class Worker:
    """The engine and its threads in a worker's main process.

    Options: `hostname`, `queues` (list), `accept_content` (MIME names), `prefetch_multiplier` (int; None or 0:
    automatic), `max_deliveries` (default 5; None: without bound), `shutdown_timeout` (default 25; None: for ever),
    `result_expires` (default a day; None: never), `delay_threshold` (default 3: messages due later go to the broker's
    delayed set), `max_message_bytes`, `queue_limits` (dict: most tasks at a time), `lease` (default 10),
    `control_exchange` (None: deaf to remote control), `open_broker`, `open_results`, `reply_options` and transport
    options as for `Client`. Others are ignored.
    """

    def __new__(cls, broker_url: str, result_url: str | None, options: Mapping[str, object]) -> Worker: ...
    def set_tasks(self, tasks: Sequence[TaskDict]) -> None: ...
    def start(self) -> None:
        """Starts the threads. Messages are fetched once a child is ready."""

    def add_child(self, child_id: int, fd: int, pid: int | None, slots: int) -> None:
        """Takes over `fd`, one end of a socket pair whose other end a `ChildLink` serves. `pid` None: the child is a
        pool in this process, which cannot be killed."""

    def stop(self, kind: Literal["warm", "cold"]) -> None:
        """Warm: no more fetching, running tasks finish within `shutdown_timeout`, the rest goes back. Cold: children
        are killed, everything unfinished goes back. May be called again to turn warm into cold."""

    def fileno(self) -> int:
        """Readable while `drain` has something."""

    def drain(self) -> list[tuple[Any, ...]]:
        """What happened since the last call, as tuples that start with a word:

        ("spawn", count)                      children are missing
        ("child-gone", child_id, pid, how, running_task_ids)  how: "stopped" if it was told to go (stop, time limit,
                                              retirement), else in words: "signal 9 (SIGKILL)", "exit code 1", …
        ("retiring", child_id)                it asked to be replaced; spawn one
        ("received", name, id, eta|None)      only when wanted: see `want_notices`
        ("revoked"|"expired"|"dead"|"requeued", name, id, detail)
        ("terminated", name, id, signal)      a revoked task ended with its process, which was sent the signal
        ("unkillable", name, id, "")          a revoked task runs where no signal can end it alone
        ("listening",)                        remote control is heard from now on, or was tried for the first time
        ("request", (headers, content_type, content_encoding, body))  somebody said something to all workers
        ("refused", "", id, error)            a follow-up or record of a task that was acknowledged before is lost:
                                              the broker or result store does not take it
        ("connected", url) / ("disconnected", url, error, retry_in)
        ("limit", "soft"|"hard", name, id, seconds)
        ("failed", error)                     a thread of the engine broke; "stopped" follows
        ("stopped",)                          all threads have ended
        """

    def revoke(
        self, ids: Sequence[str], stamps: Sequence[tuple[str, str]], until: float, signal: int | None = None
    ) -> None:
        """Tasks are not to run; what runs is sent `signal`, if one is given. The broker is told soon, for others.
        `until`: seconds since the epoch."""

    def present(self, ids: Sequence[str]) -> list[tuple[str, bool]]:
        """Those of `ids` whose tasks are here and have not ended, with whether they run. Raises as `stats`."""

    def revoked(self) -> list[str]:
        """Ids of tasks that are revoked, sorted. Raises as `stats`."""

    def answer(self, exchange: str, routing_key: str, headers: str, content: _Content) -> None:
        """Sends the answer to a request into the box of who asked, soon."""

    def want_notices(self, received: bool) -> None: ...
    def tick(self) -> None:
        """Makes the engine look at the clock, which was moved."""

    def stats(self) -> dict[str, Any]:
        """Counters: held, waiting, timed, queued, running, unconfirmed, window, children, slots; since the start:
        received, succeeded, failed, retried, ignored, rejected, requeued, delayed, dead, expired, revoked, lost,
        fetched, settled, exchanges, stored, disconnects, dispatched. Raises RuntimeError unless it runs."""

    def set_pool_size(self, size: int) -> None:
        """How many children there should be; missing ones are asked for with "spawn"."""

# --- worker, child process --------------------------------------------------------------------------------------

@final
class Job:
    """One task to run. Attributes are built on first use."""

    @property
    def id(self) -> str: ...
    @property
    def number(self) -> int:
        """Unlike the id, never the same for two jobs at a time."""

    @property
    def task(self) -> str: ...
    @property
    def group(self) -> str | None:
        """Header `group`; of protocol 1, `taskset` as well."""

    @property
    def parent_id(self) -> str | None: ...
    @property
    def retries(self) -> int: ...
    @property
    def ignore_result(self) -> bool | None:
        """None: the task's own setting decides."""

    @property
    def headers(self) -> dict[str, Any]:
        """As protocol 2 has them, also for a message of protocol 1 (made of its body then). The same dict each
        time."""

    @property
    def properties(self) -> dict[str, Any]: ...
    @property
    def body(self) -> bytes:
        """Decompressed (unless `compression` is set), still serialized."""

    @property
    def compression(self) -> str | None:
        """The codec that only Python can undo and that `body` is still packed with; None as a rule."""

    @property
    def content_type(self) -> str: ...
    @property
    def content_encoding(self) -> str: ...
    @property
    def queue(self) -> str: ...
    @property
    def redelivered(self) -> bool: ...
    @property
    def failed_deliveries(self) -> int: ...
    @property
    def delivery_info(self) -> dict[str, Any]:
        """exchange, routing_key, priority, redelivered: as `request.delivery_info`."""

    def decode_json(self) -> tuple[Any, Any, Any]:
        """args, kwargs, embed of a JSON body (protocol 2, 1 or hybrid). Raises `MalformedError`."""

@final
class ProcessState:
    """What a task may leave changed in its process: signal mask and alarm, as they are when this is made."""

    def __new__(cls) -> ProcessState: ...
    def restore(self) -> bool:
        """Puts them back. True if descriptors 0 to 2 are open."""

@final
class ChildLink:
    """A child's end of the socket to the main process. Many threads may call it.

    `next` marks the returned job as started. Outcomes are sent in batches: at once when nothing else is waiting,
    else within about a millisecond, by a thread that never needs the GIL.
    """

    def __new__(cls, fd: int, slots: int = 1) -> ChildLink: ...
    def next(self, timeout: float | None = None) -> Job | None:
        """Blocks for the next job; None at the timeout or once `stopped`."""

    def fileno(self) -> int:
        """For an event loop in place of `next`: readable while `take` or `interruptions` may have something, or
        `is_ending` has turned true."""

    def take(self, most: int) -> list[Job]:
        """Up to `most` jobs that are here, which count as started. Never waits. The descriptor stays readable while
        there are more, unless `most` is 0: then come again once there is room."""

    def interruptions(self) -> list[tuple[int, Literal["soft", "hard", "revoked"]]]:
        """Numbers of running jobs to be interrupted, each once for each reason: a time limit, or a revocation."""

    @property
    def is_ending(self) -> bool:
        """True when no more jobs will come: this child retires, or `stopped`."""

    @property
    def stopped(self) -> bool:
        """True when the main process said stop, or is gone."""

    def companions(self, job: Job) -> list[Job]:
        """The jobs of the same batch that have started with this one, once."""

    def finish(
        self,
        job: Job,
        state: str,
        disposition: Literal["ack", "requeue", "reject"],
        record: bytes | None = None,
        expires: float | None = None,
        publish: Sequence[MessageDict] = (),
        reason: str = "",
        kind: str = "rejected",
    ) -> None:
        """Reports the outcome. `state`: SUCCESS, FAILURE, RETRY, REJECTED, IGNORED,
        REVOKED. `record` None stores nothing.
        `reject` sends the message to the dead letters with `reason`, a sentence, and `kind`, one word for filters
        (`rejected`, `undecodable`, `unknown-task`, …). The engine applies `acks_on_failure`. Raises `NativeError` if
        all this is too large to be reported: finish the job again with less."""

    def started(
        self, job: Job, record: bytes, expires: float | None, state: str = "STARTED", task_id: str | None = None
    ) -> None:
        """Stores a STARTED (or custom state) record while the job runs, in order with what `finish` will store.
        `task_id`: of another task the job speaks for."""

    def retire(self) -> None:
        """Asks for no more jobs: those not started go back to the main process; `next` then returns None."""

    def ask_for_relief(self) -> None:
        """Asks for a replacement, and takes jobs until that is there and the main process says stop."""

    def soft_limit_job(self) -> str | None:
        """Called by the SIGUSR1 handler: the id of the running job whose soft limit passed, once; else None."""

    def flush(self) -> None:
        """Blocks until all outcomes are written to the socket."""
