//! What a worker tells its supervisor.

use std::time::Duration;

use umbel_protocol::Message;

use crate::engine::{ChildId, Notice};

/// Something the supervisor acts on, logs or shows.
#[derive(Debug, Clone, PartialEq)]
pub enum WorkerEvent {
    /// Children are missing: start this many and hand them over with `Worker::add_child`.
    Spawn {
        /// How many.
        count: usize,
    },
    /// A child is gone.
    ChildGone {
        /// Which.
        child: ChildId,
        /// Its process, if it had one of its own.
        pid: Option<i32>,
        /// In words: `signal 9 (SIGKILL)`, `exit code 1`, …
        how: String,
        /// True if it was told to go (limit, shutdown, retirement).
        expected: bool,
        /// Ids of the tasks that were running there.
        running: Vec<String>,
    },
    /// A child asked to be replaced; a `Spawn` follows.
    Retiring {
        /// Which.
        child: ChildId,
    },
    /// What the engine noticed about a task. Never `ChildGone` or `Retiring`, which have their own events.
    Notice(Notice),
    /// Remote control is heard from now on, or was tried for the first time.
    Listening,
    /// Somebody said something to all workers.
    Request(Box<Message>),
    /// The broker can be reached (again).
    Connected {
        /// URL without password.
        url: String,
    },
    /// The broker or result store cannot be reached, or refuses service.
    Disconnected {
        /// URL without password.
        url: String,
        /// Why.
        error: String,
        /// When the next attempt is made.
        retry_in: Duration,
    },
    /// The broker or result store refuses what one task brought (an unroutable follow-up, an oversized record). The
    /// message is with the dead letters; if it was acknowledged before, what is said here is all that is left.
    Refused {
        /// Task id, empty if unknown.
        id: String,
        /// Why.
        error: String,
        /// Whether the message is with the dead letters.
        dead: bool,
    },
    /// A thread of the worker failed, which is a bug: the worker ends, and its messages come back by their lease.
    Failed {
        /// Which thread, and its last words.
        error: String,
    },
    /// Everything is settled and all threads have ended. The last event.
    Stopped,
}
