//! What the threads of one worker share.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_channel::Sender;
use umbel_broker::Tag;

use super::bell::Bell;
use super::children::NewChild;
use super::event::WorkerEvent;
use super::mailbox::Mailbox;
use super::outbox::Outbox;
use super::stats::{Stats, Traffic};
use crate::engine::Input;

/// What other threads tell the engine's.
#[derive(Debug)]
pub(super) enum ToEngine {
    /// An input for the engine as it is.
    Input(Input),
    /// A child to take over.
    Child(NewChild),
    /// The connection to the broker is lost; to be answered in the outbox.
    Disconnected,
    /// The connection is back; these held tags are no longer ours.
    Reconnected(Vec<Tag>),
    /// Somebody wants to know.
    Stats(Sender<Stats>),
    /// Somebody wants to know which tasks are revoked.
    Revoked(Sender<Vec<String>>),
    /// Somebody wants to know which of these tasks are here, and whether they run.
    Present(Vec<String>, Sender<Vec<(String, bool)>>),
    /// Somebody can do without the supervisor, or a thread has failed: end now.
    Abandon,
}

/// Shared by all threads of a worker.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) to_engine: Mailbox<ToEngine>,
    pub(super) outbox: Outbox,
    pub(super) bell: Bell,
    pub(super) events: Mailbox<WorkerEvent>,
    pub(super) traffic: Traffic,
    /// Whether `Notice::Received` is wanted.
    pub(super) wants_received: AtomicBool,
}

impl Shared {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            to_engine: Mailbox::new()?,
            outbox: Outbox::new()?,
            bell: Bell::default(),
            events: Mailbox::new()?,
            traffic: Traffic::default(),
            wants_received: AtomicBool::new(false),
        })
    }

    pub(super) fn input(&self, input: Input) {
        self.to_engine.push(ToEngine::Input(input));
    }

    /// There may be messages: a parked fetch looks, or the engine thinks of one.
    pub(super) fn ring(&self) {
        if !self.outbox.ring() {
            self.input(Input::Rang);
        }
    }

    pub(super) fn event(&self, event: WorkerEvent) {
        self.events.push(event);
    }

    /// Ends every thread at once; for failures.
    pub(super) fn abandon(&self) {
        self.outbox.stop();
        self.bell.stop();
        self.to_engine.push(ToEngine::Abandon);
    }
}

/// Adds to a counter that only one thread changes.
pub(super) fn count(counter: &AtomicU64, more: usize) {
    counter.fetch_add(more as u64, Ordering::Relaxed);
}
