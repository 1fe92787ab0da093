//! AMQP 0-9-1 as RabbitMQ speaks it, for who knows no Celery.
//!
//! | layer | module |
//! |---|---|
//! | bytes to values and back | [`wire`], [`table`], [`properties`], [`method`], [`frame`] |
//! | what a connection is: bytes in, events out; commands in, bytes out | [`connection`], [`confirms`] |
//! | the same on a socket that blocks | [`link`] |
//!
//! Nothing in the first two has a socket, a clock or a thread; time is an argument. No bytes of a peer may panic, and what
//! they announce costs no memory before it comes.

pub mod confirms;
pub mod connection;
pub mod error;
pub mod frame;
pub mod link;
pub mod method;
pub mod properties;
pub mod table;
pub mod wire;

pub use confirms::{Confirms, Verdict};
pub use connection::{Connection, Content, Event, Login, Settings, Tuned};
pub use error::{CloseReason, Error, Malformed, Result};
pub use link::{Address, Link};
pub use method::Method;
pub use properties::Properties;
pub use table::{Table, Value};
