//! The result store contract. Every engine passes `umbel_conformance::conformance::backend`.

use std::time::Duration;

use umbel_broker::{BrokerError, Result};
use umbel_protocol::{ChordPart, ResultWrite};

/// A result store: opens connections. Cheap to share.
pub trait Backend: Send + Sync {
    /// URL without password, for people.
    fn display_url(&self) -> String;

    /// Equal to a broker's `identity()` exactly when both are the same store and one transaction can span them.
    fn identity(&self) -> String;

    /// Whether records go to whoever asked for the task: a client calls [`ResultStore::prepare`] before it sends the first,
    /// and workers say in [`ResultWrite::reply_to`] who that was.
    fn expects_replies(&self) -> bool {
        false
    }

    /// The record of a task, where that is known without asking anybody: a listener does not tell of it again.
    fn at_hand(&self, _task_id: &str) -> Option<Vec<u8>> {
        None
    }

    /// Ends what the process has open beside its handles.
    fn close(&self) {}

    /// Opens a connection to read and write on.
    fn store(&self) -> Result<Box<dyn ResultStore>>;

    /// Opens a connection to listen on.
    fn listener(&self) -> Result<Box<dyn ResultListener>>;
}

/// Reads and writes records. A saved group is one too, under the name `celery-taskset-meta-<group id>` in the place of a
/// task id.
pub trait ResultStore: Send {
    /// Writes records in order and notifies listeners. A stored `SUCCESS` is final: a later write for the same id
    /// is ignored. Each write renews the expiry. Safe to repeat.
    fn write(&mut self, batch: &[ResultWrite]) -> Result<()>;

    /// Sees to it that nothing is lost of what is written for this process from now on.
    fn prepare(&mut self) -> Result<()> {
        Ok(())
    }

    /// The records of `task_ids`, in that order; `None` where there is none or it has expired.
    fn read(&mut self, task_ids: &[String]) -> Result<Vec<Option<Vec<u8>>>>;

    /// Removes records; says how many there were.
    fn forget(&mut self, task_ids: &[String]) -> Result<u64>;

    /// A chord begins, or begins anew: the body is due once `size` parts are counted. Its keys live for `life`, renewed
    /// by each part.
    fn start_chord(&mut self, _group: &str, _size: u64, _life: Option<Duration>) -> Result<()> {
        Err(no_chords())
    }

    /// A chord waits for one more part.
    fn extend_chord(&mut self, _group: &str) -> Result<()> {
        Err(no_chords())
    }

    /// Counts a part of a chord whose messages are in another store: once for each member and place. Returns the members
    /// ([`umbel_protocol::chord::member_tuples`]) as long as the chord is complete and not ended, so that the caller may
    /// repeat the call after a crash.
    fn count_part(&mut self, _part: &ChordPart) -> Result<Option<String>> {
        Err(no_chords())
    }

    /// The parts of a chord, in the order of their places.
    fn chord_parts(&mut self, _group: &str) -> Result<Vec<Vec<u8>>> {
        Err(no_chords())
    }

    /// Forgets the parts of a chord. Late copies of its members change nothing.
    fn end_chord(&mut self, _group: &str) -> Result<()> {
        Err(no_chords())
    }

    /// Removes expired records where the store does not do so by itself; says how many.
    fn remove_expired(&mut self) -> Result<u64>;
}

/// Hears of records as they are written.
pub trait ResultListener: Send {
    /// Starts listening for `task_ids`. A record written after this call returns is heard.
    fn subscribe(&mut self, task_ids: &[String]) -> Result<()>;

    /// As [`ResultListener::subscribe`]; where it costs no further round trip it also reads the records, as of a moment
    /// after the subscription. `None`: the caller is to read them.
    fn subscribe_and_read(&mut self, task_ids: &[String]) -> Result<Option<Vec<Option<Vec<u8>>>>> {
        self.subscribe(task_ids)?;
        Ok(None)
    }

    /// Stops listening for `task_ids`.
    fn unsubscribe(&mut self, task_ids: &[String]) -> Result<()>;

    /// Blocks until records arrive, [`ListenerWaker::wake`] is called, or `timeout`; returns `(task id, record)`
    /// pairs, possibly none. Records of every state are delivered, but one that was replaced before it was heard may be
    /// skipped. A lost connection is an error; after the next
    /// successful `subscribe` the caller reads once what it may have missed.
    fn next(&mut self, timeout: Duration) -> Result<Vec<(String, Vec<u8>)>>;

    /// A handle that interrupts [`ResultListener::next`] from another thread, so that new ids can be subscribed
    /// at once.
    fn waker(&self) -> Box<dyn ListenerWaker>;
}

/// Interrupts a listener's wait.
pub trait ListenerWaker: Send + Sync {
    /// Makes the present or the next `next` call return soon.
    fn wake(&self);
}

fn no_chords() -> BrokerError {
    BrokerError::Config {
        setting: "result_backend".to_owned(),
        detail: "this result store cannot count the parts of a chord: use Redis or SQLite".to_owned(),
    }
}
