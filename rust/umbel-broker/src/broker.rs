//! The broker contract, at the level of a task queue.
//!
//! Calls block; each handle belongs to one thread at a time and owns its connection. Every engine passes
//! `umbel_conformance::conformance::broker`; what follows is what that suite checks.
//!
//! **Tags.** A fetched message is recorded under a [`Tag`] chosen by the consumer (it carries the worker's id
//! and an epoch), not under the producer's delivery tag. Until the tag is settled the message is *held*: it is
//! in the broker, nobody else is given it, and it comes back by itself when the holder dies.
//!
//! **At least once.** From `publish` returning until a settlement with `Ack` or `Dead` is confirmed, the message
//! exists in the broker at every instant, whatever process dies.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use umbel_protocol::{ChordStep, Destination, Malformed, Message, ResultWrite, Timestamp};

use crate::capability::Capabilities;
use crate::control::{Control, Listener};
use crate::error::Result;
use crate::once::{Lock, Taken};
use crate::slots::{GivenUp, Slot};

/// Key of one held message, unique per delivery; it names the worker, an epoch and a sequence in the engine's own way.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(pub Arc<str>);

/// A message on its way out.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    /// Exchange and routing key.
    pub destination: Destination,
    /// The message; its properties' destination and delivery tag are filled in by the engine.
    pub message: Message,
    /// When it is due, read from its `eta` header by whoever built it. An engine may keep the message in its
    /// delayed set until then, or leave that to the consumer ([`Disposition::Delay`]).
    pub eta: Option<Timestamp>,
    /// The line it stands in ([`crate::lines`]): messages of different lines of a queue are served alike. Not heeded for
    /// one with an `eta`, or that waits for a chord.
    pub line: Option<String>,
    /// What it does to a chord, or waits for. Only in a settlement, whose step this is part of.
    pub chord: Option<Box<ChordStep>>,
}

/// What a fetch returns for one message.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// Key to settle it with.
    pub tag: Tag,
    /// Queue it was taken from.
    pub queue: Arc<str>,
    /// The message, or bytes that are none.
    pub payload: Payload,
}

/// A decoded message, or the raw bytes and why they are not one.
#[derive(Debug, Clone, PartialEq)]
pub enum Payload {
    /// A well-formed envelope. Its headers may still turn out to be no task.
    Message(Box<Message>),
    /// Bytes that form no envelope; the engine settles them with [`Disposition::Dead`].
    Malformed {
        /// What was found, unchanged.
        raw: Vec<u8>,
        /// What is wrong with it.
        error: Malformed,
    },
}

/// Why a message is with the dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadReason {
    /// One word for filters: `undecodable`, `unknown-task`, `not-accepted`, `rejected`, `max-deliveries`, `oversized`, …
    pub kind: String,
    /// A sentence for people.
    pub detail: String,
}

/// What becomes of a held message.
#[derive(Debug, Clone, PartialEq)]
pub enum Disposition {
    /// Done with: forget it.
    Ack,
    /// Back to its queue, marked redelivered.
    Requeue {
        /// True: next in line (it was taken but not started). False: behind the others (`Reject(requeue=True)`).
        front: bool,
        /// True when a dead child or worker ended this delivery: counts towards `task_max_deliveries`.
        failed: bool,
    },
    /// Into the broker's delayed set; back in its queue, behind the others, when due. Not marked redelivered: it was
    /// not tried.
    Delay {
        /// When it is due.
        until: Timestamp,
    },
    /// Into the dead-letter store.
    Dead(DeadReason),
    /// Held as before and told among [`Exchanged::entered`], if one of each of these slots is free or its own already;
    /// they are then taken. Else it is held no more and waits in the store: it comes to the front of its queue when a slot
    /// of the first that was not free is given up. Not marked redelivered. Brings no messages and no results.
    Enter(Vec<Slot>),
}

/// The end of one delivery and everything that must happen in the same step.
#[derive(Debug, Clone, PartialEq)]
pub struct Settlement {
    /// The held message; `None` when it was acknowledged before (early acks), so that only `results` and
    /// `publish` are left to do.
    pub tag: Option<Tag>,
    /// What becomes of it. Ignored without a tag.
    pub disposition: Disposition,
    /// Messages to publish: retries, callbacks, next chain steps, parts of chords. A chord is where results are, so its
    /// steps are only for a consumer with [`ConsumerOptions::stores_results`].
    pub publish: Vec<Outgoing>,
    /// Result records. Empty unless the consumer was opened with [`ConsumerOptions::stores_results`].
    pub results: Vec<ResultWrite>,
    /// Locks, slots and places in lines that are given up. A lock stays if the tag is not held any more; the others do not.
    pub gives_up: Vec<GivenUp>,
}

impl Settlement {
    /// The end of one delivery and nothing else.
    pub fn of(tag: Option<Tag>, disposition: Disposition) -> Self {
        Self { tag, disposition, publish: Vec::new(), results: Vec::new(), gives_up: Vec::new() }
    }

    /// True if it can be carried out only where the results are.
    pub fn needs_results(&self) -> bool {
        !self.results.is_empty() || self.publish.iter().any(|outgoing| outgoing.chord.is_some())
    }
}

/// What [`Consumer::exchange`] brings back.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Exchanged {
    /// Newly held messages, in the order they should start.
    pub deliveries: Vec<Delivery>,
    /// Tags among the settled ones that were no longer ours (the lease had been lost and the message will run,
    /// or has run, elsewhere). Nothing was published for them.
    pub lost: Vec<Tag>,
    /// Tags among those that were to enter ([`Disposition::Enter`]) that have, and are still held.
    pub entered: Vec<Tag>,
    /// When the earliest delayed message is due, if the engine knows of one: look again by then.
    pub next_due: Option<Timestamp>,
}

/// How a consumer is opened.
#[derive(Debug, Clone)]
pub struct ConsumerOptions {
    /// Unique per worker process start, e.g. a uuid. Part of every tag.
    pub worker_id: String,
    /// Queues to take from; fair among them within one priority.
    pub queues: Vec<String>,
    /// How long the holder may stay silent before its messages go back (a worker: 8 s unless it is told otherwise).
    pub lease: Duration,
    /// True when settlements carry results for this same store (see `umbel_backend::Backend::same_store`).
    pub stores_results: bool,
}

/// A broker: opens connections, each with its own job. Cheap to share.
pub trait Broker: Send + Sync {
    /// URL without password, for people.
    fn display_url(&self) -> String;

    /// Text that is equal for two URLs exactly when they name the same store, so that results can be written in
    /// the same step as acknowledgements.
    fn identity(&self) -> String;

    /// Which parts of the contract it keeps.
    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    /// Opens a connection to publish on.
    fn publisher(&self) -> Result<Box<dyn Publisher>>;

    /// Opens a connection to consume on and registers the worker's heartbeat.
    fn consumer(&self, options: ConsumerOptions) -> Result<Box<dyn Consumer>>;

    /// Opens whatever tells that `queues` may have work.
    fn doorbell(&self, queues: &[String]) -> Result<Box<dyn Doorbell>>;

    /// Opens a connection for people: counting, purging, dead letters.
    fn admin(&self) -> Result<Box<dyn Admin>>;

    /// Opens a connection to speak to all workers.
    fn control(&self) -> Result<Box<dyn Control>>;

    /// Opens a connection to hear what is said to all workers on `exchange`.
    fn listener(&self, exchange: &str) -> Result<Box<dyn Listener>>;
}

/// Sends messages.
pub trait Publisher: Send {
    /// Publishes all of `batch`, in order, and returns when the broker has confirmed them (on SQLite: committed).
    ///
    /// On `Connection` errors any prefix may have been published: repeating is safe for at-least-once.
    /// An unroutable message is an error and sends nothing of the batch.
    fn publish(&mut self, batch: &[Outgoing]) -> Result<()>;

    /// Takes a lock for a message and publishes it in one step. Where another owner has the lock and is to keep it, nothing
    /// happens; where the message's own owner has it, that was an earlier attempt, and nothing happens either.
    fn publish_once(&mut self, outgoing: &Outgoing, lock: &Lock) -> Result<Taken>;

    /// Declares that `queue` receives what is sent to `destination` (a binding). The anonymous exchange needs none.
    fn bind(&mut self, queue: &str, destination: &Destination, kind: ExchangeKind) -> Result<()>;
}

/// How an exchange compares routing keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExchangeKind {
    /// Equal keys.
    #[default]
    Direct,
    /// `*` one word, `#` any number of words.
    Topic,
    /// Every bound queue.
    Fanout,
}

/// Takes messages and settles them.
pub trait Consumer: Send {
    /// Settles `settlements` in order, then fetches up to `want` messages, in as few round trips as the store allows.
    ///
    /// Each settlement is atomic: disposition, follow-up messages and results happen together or not at all, and
    /// only if the tag is still held (results are written even when it is not: they are facts). Settling a tag twice
    /// is harmless, so after a lost reply the caller repeats the call with the same settlements.
    ///
    /// An error with [`crate::NextStep::GiveUp`] (an unroutable follow-up, results without permission) means that nothing
    /// of this call happened; a `Connection` error that any of it may have.
    ///
    /// Fetching is lossless: a message whose reply is lost is held under a tag the caller does not know, and
    /// [`Consumer::recover`] gives it back. Order: by priority, 0 first (as kombu on Redis), then fair across
    /// queues, then first in first out.
    fn exchange(&mut self, settlements: &[Settlement], want: usize) -> Result<Exchanged>;

    /// Says "alive", keeps every held message ours, moves due delayed messages to their queues, and takes back
    /// the messages of workers whose lease ran out (front of the queue, in the order they were taken), counting a failed
    /// delivery for each, and their slots. To be called at least
    /// every `lease / 3`. Returns how many messages of others it returned to their queues.
    fn heartbeat(&mut self) -> Result<usize>;

    /// Whether [`Consumer::listen`] works. Else [`Broker::doorbell`] tells of work.
    fn listens(&self) -> bool {
        false
    }

    /// As [`Doorbell::wait`], on this consumer's own connection and for its own queues: what rings then needs no
    /// hand-over to who fetches. Ends early, with false, when `waker` is readable. To be called only while
    /// [`Consumer::listens`].
    fn listen(&mut self, timeout: Duration, waker: BorrowedFd<'_>) -> Result<bool> {
        let _ = (timeout, waker);
        Ok(true)
    }

    /// After an error with [`crate::NextStep::Reconnect`]: connects anew and reconciles. Messages held by this
    /// worker but not in `known` go back to the front of their queues, in the order they were taken; tags of `known`
    /// that are no longer held are returned. A new handle with an old worker id recovers what the old handle held.
    fn recover(&mut self, known: &[Tag]) -> Result<Vec<Tag>>;

    /// Gives back everything still held (front of the queue, in the order it was taken, not counted as failed), ends the
    /// lease. Closing twice is fine; a handle dropped without it falls silent, and its lease runs out.
    fn close(&mut self) -> Result<()>;
}

/// Tells when there may be work.
pub trait Doorbell: Send {
    /// Blocks until a queue may have messages, or for `timeout`. True means "look now".
    ///
    /// It never misses: a message published before the call, or during it, makes it return true, also one with a due
    /// time in the future, so that who waits learns when to look. Spurious rings are allowed.
    fn wait(&mut self, timeout: Duration) -> Result<bool>;
}

/// One dead letter.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// Its own id, unique in the store.
    pub id: String,
    /// Queue it came from.
    pub queue: String,
    /// Why it is here.
    pub reason: DeadReason,
    /// Since when.
    pub at: Timestamp,
    /// What it was.
    pub payload: Payload,
}

/// A message that nobody holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// What it is.
    pub payload: Payload,
    /// When it is due, if it waits for its time.
    pub due: Option<Timestamp>,
}

/// For people and tools.
pub trait Admin: Send {
    /// Messages ready in `queue`, all priorities; held and delayed ones not counted.
    fn length(&mut self, queue: &str) -> Result<u64>;

    /// Up to `limit` messages of `queue` that nobody holds, as they are: the ready ones in the order in which they will be
    /// served, then the delayed ones by their time.
    fn peek(&mut self, queue: &str, limit: usize) -> Result<Vec<Waiting>>;

    /// Removes all ready messages of `queue` and says how many.
    fn purge(&mut self, queue: &str) -> Result<u64>;

    /// Dead letters, oldest first.
    fn dead_letters(&mut self, offset: usize, limit: usize) -> Result<Vec<DeadLetter>>;

    /// One dead letter, if there.
    fn dead_letter(&mut self, id: &str) -> Result<Option<DeadLetter>>;

    /// Puts dead letters back into the queues they came from, their failed deliveries reset; says how many were
    /// found. A malformed payload goes back as the bytes it was.
    fn dead_replay(&mut self, ids: &[String]) -> Result<u64>;

    /// Forgets dead letters (`None`: all); says how many.
    fn dead_purge(&mut self, ids: Option<&[String]>) -> Result<u64>;

    /// What is wrong with the way the server is set up, in words that name the setting; empty as a rule.
    fn advice(&mut self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}
