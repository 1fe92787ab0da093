//! Celery's wire as plain types: no I/O, no clock, no Python.
//!
//! Everything that travels between a producer, a worker, a monitor and a result reader is named here
//! and encoded or decoded here, from buffers and never from sockets. Bytes off the wire never panic:
//! every parser returns a [`Malformed`] that says what was wrong and where, and formats that take Python
//! (pickle, yaml) say so in a [`NeedsPython`].

pub mod base64;
pub mod body;
mod calendar;
pub mod chord;
pub mod compression;
pub mod content;
pub mod envelope;
pub mod error;
pub mod extended;
mod fields;
pub mod iso8601;
pub mod json;
pub mod limits;
pub mod message;
pub mod msgpack;
pub mod result;
pub mod task;
pub mod timestamp;
pub mod zone;

pub use chord::{ChordPart, ChordStep};
pub use error::{Malformed, NeedsPython, ReadError};
pub use limits::Limits;
pub use message::{Destination, Message, Properties};
pub use result::ResultWrite;
pub use task::{Protocol, ReadOptions, TaskFacts, TaskHeaders};
pub use timestamp::Timestamp;
pub use zone::Zone;
