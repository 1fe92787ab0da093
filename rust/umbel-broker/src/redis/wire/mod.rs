//! A blocking Redis connection: RESP2 and RESP3 over TCP, TLS or a unix socket, with pipelines and scripts.
//!
//! It has what a general client hides: the descriptor to poll together with a waker, push frames in the order they
//! came, and a reply that is overdue closes the connection, so that no later reply can be taken for it.
//! `docs/decisions/0002-redis-connection.md` says why it is our own.

mod buffered;
mod command;
mod connection;
mod failure;
mod reply;
mod script;
mod sentinel;
mod stream;

pub use buffered::Buffered;
pub use command::{Command, Pipeline};
pub use connection::{Connection, Event, Protocol};
pub use reply::{ServerError, Value};
pub use script::Script;
