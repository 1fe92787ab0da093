//! Tasks of which only one is to be sent at a time: their messages hold a lock, which is given up in the step that settles
//! them, or says that they have started.
//!
//! The message names its lock and until when it holds it, in a header that means nothing to others: `end:<name>` or
//! `start:<name>`. Locks run out by themselves, so one that is not given up, because a worker died or Celery ran the
//! task, keeps others out for a while and no longer.

use umbel_broker::GivenUp;
use umbel_protocol::{Limits, Message, json};

use super::Engine;
use super::job::JobId;

/// The header.
const HEADER: &str = "umbel_unique";

/// A lock that a message holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hold {
    name: String,
    /// Given up when the task starts, not when it ends.
    until_start: bool,
}

impl Hold {
    /// The lock of a message, if it has one.
    pub(super) fn read(message: &Message) -> Option<Self> {
        let members = json::members(message.headers.as_bytes(), &Limits::default()).ok()?;
        let raw = members.iter().find(|member| member.name == HEADER)?.raw;
        let text = json::text_of(raw)?;
        let (until, name) = text.split_once(':')?;
        matches!(until, "start" | "end").then(|| Self { name: name.to_owned(), until_start: until == "start" })
    }

    /// As a settlement gives it up.
    pub(super) fn given_up(&self, id: &str) -> GivenUp {
        GivenUp::Lock { name: self.name.clone(), owner: id.to_owned() }
    }
}

impl Engine {
    /// Jobs have started: those that hold their lock no longer than that give it up.
    pub(super) fn release_started(&mut self, jobs: &[JobId]) {
        for &job in jobs {
            let Some(held) = self.ledger.get_mut(job) else { continue };
            if let Some(lock) = held.lock.take_if(|lock| lock.until_start) {
                let given = lock.given_up(held.facts.id());
                self.ledger.owe_given_up(given);
            }
        }
    }

    /// A job is to be run again under its id: it keeps its lock.
    pub(super) fn keep_lock(&mut self, job: JobId) {
        if let Some(held) = self.ledger.get_mut(job) {
            held.lock = None;
        }
    }
}
