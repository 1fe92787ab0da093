//! A connection that is opened anew when the last one broke.

use std::sync::Arc;

use super::options::RedisOptions;
use super::wire::{Connection, Protocol};
use crate::error::Result;

/// For callers that keep no state on the server between calls.
pub struct Link {
    options: Arc<RedisOptions>,
    protocol: Protocol,
    connection: Connection,
}

impl Link {
    /// Connects.
    ///
    /// # Errors
    /// As [`Connection::open`].
    pub fn open(options: Arc<RedisOptions>, protocol: Protocol) -> Result<Self> {
        let connection = Connection::open(&options, protocol)?;
        Ok(Self { options, protocol, connection })
    }

    /// The connection, a new one if the last is known to be broken.
    ///
    /// # Errors
    /// As [`Connection::open`].
    pub fn connection(&mut self) -> Result<&mut Connection> {
        if !self.connection.is_usable() {
            self.connection = Connection::open(&self.options, self.protocol)?;
        }
        Ok(&mut self.connection)
    }
}
