//! Result records as Celery stores them.

mod compressed;
mod exception;
mod keys;
mod record;
pub mod states;

use std::time::Duration;

pub use compressed::{compress, is_compressed, unpack};
pub use exception::ExceptionRecord;
pub use keys::Keys;
pub use record::{Extended, Record};

/// One record to be written to the result store.
#[derive(Debug, Clone, PartialEq)]
pub struct ResultWrite {
    /// Task id; the store derives its key from it (`celery-task-meta-<id>`).
    pub task_id: String,
    /// State name (`SUCCESS`, `RETRY`, a custom one, …). A stored `SUCCESS` is never overwritten.
    pub state: String,
    /// The encoded record, already compressed if so configured.
    pub record: Vec<u8>,
    /// Life of the record from this write on; `None` keeps it for ever.
    pub expires: Option<Duration>,
    /// Queue of whoever asked for the task, for stores that send records there (`rpc://`); others need not know.
    pub reply_to: Option<String>,
}
