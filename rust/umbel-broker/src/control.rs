//! What is said to all workers, and what they must not forget of it.
//!
//! A *broadcast* reaches whoever listens at the time and is gone. What must outlive that, because a worker may be away or
//! start tomorrow, is kept in the store: the *revocations*. A worker that listens first and reads them then misses none.
//! Answers to a broadcast go to a *box*, which whoever asks keeps open while it waits.

use std::time::Duration;

use umbel_protocol::{Destination, Message, Timestamp};

use crate::error::Result;
use crate::lane::Turn;

/// What is not to run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Revoked {
    /// The task with this id.
    Task(String),
    /// Tasks that carry this stamp.
    Stamp {
        /// Its header.
        header: String,
        /// Its value, as text.
        value: String,
    },
}

/// A revocation and its end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revocation {
    /// What is not to run.
    pub what: Revoked,
    /// When it is forgotten.
    pub until: Timestamp,
}

impl Revoked {
    /// As one text, for stores that keep texts: `t<id>`, or `s<header>\0<value>`.
    pub fn to_text(&self) -> String {
        match self {
            Self::Task(id) => format!("t{id}"),
            Self::Stamp { header, value } => format!("s{header}\0{value}"),
        }
    }

    /// From that text; `None` for what another version may have written.
    pub fn from_text(text: &str) -> Option<Self> {
        if let Some(id) = text.strip_prefix('t') {
            return Some(Self::Task(id.to_owned()));
        }
        let (header, value) = text.strip_prefix('s')?.split_once('\0')?;
        Some(Self::Stamp { header: header.to_owned(), value: value.to_owned() })
    }
}

/// Speaks to all workers.
pub trait Control: Send {
    /// Keeps `revocations`; of one that is kept already, the later end counts.
    fn revoke(&mut self, revocations: &[Revocation]) -> Result<()>;

    /// All revocations that have not ended.
    fn revoked(&mut self) -> Result<Vec<Revocation>>;

    /// The next turn under a rate limit that all workers share: [`crate::Lane::turn`] on the store's clock.
    fn turn(&mut self, limit: &str, pause: Duration, patience: Duration) -> Result<Turn>;

    /// Says `message` to everybody who listens on `exchange` now.
    fn broadcast(&mut self, exchange: &str, message: &Message) -> Result<()>;

    /// Opens the box that is addressed as `address`: answers sent from now on are kept for [`Control::collect`].
    fn open_box(&mut self, address: &Destination) -> Result<()>;

    /// Takes the answers in a box; waits for one up to `timeout` if there is none. Without a timeout these are all that
    /// were sent before; with one, those that are on their way may come with the next call.
    fn collect(&mut self, address: &Destination, timeout: Duration) -> Result<Vec<Message>>;

    /// Closes a box and forgets what is in it.
    fn close_box(&mut self, address: &Destination) -> Result<()>;

    /// Puts an answer into a box. One for a box that is not open is dropped.
    fn answer(&mut self, address: &Destination, message: &Message) -> Result<()>;

    /// As [`Control::answer`] for each of `answers`; in one go where that is faster.
    fn answer_all(&mut self, answers: &[(Destination, Message)]) -> Result<()> {
        answers.iter().try_for_each(|(address, message)| self.answer(address, message))
    }
}

/// Hears what is said to all workers on one exchange, from the moment it was opened.
pub trait Listener: Send {
    /// Waits up to `timeout` for messages, in the order they were said; possibly none. What is no message is left out.
    /// After an error a new listener is needed; what was said between the two is lost.
    fn next(&mut self, timeout: Duration) -> Result<Vec<Message>>;
}

/// How long what is said stays in a store from which listeners fetch it, and answers in a box that nobody closed.
pub(crate) const KEPT: Duration = Duration::from_secs(60);

/// As stores count time.
pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_as_they_were_written() {
        let stamp = Revoked::Stamp { header: "tenant".into(), value: "a\0b".into() };
        for revoked in [Revoked::Task("s1".into()), Revoked::Task(String::new()), stamp] {
            assert_eq!(Revoked::from_text(&revoked.to_text()), Some(revoked));
        }
        for text in ["", "x1", "sheader"] {
            assert_eq!(Revoked::from_text(text), None, "{text:?}");
        }
    }
}
