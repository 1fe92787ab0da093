//! A doorbell on a connection of its own: the server's own invalidation messages, or looking often.
//!
//! Messages are taken by the consumer, never here, so a doorbell can be lost without losing anything.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::keys::Keys;
use super::options::RedisOptions;
use super::tracking::{self, REARM};
use super::wire::{Connection, Event, Value};
use crate::broker::Doorbell;
use crate::error::Result;

/// Tells that lists may have messages.
pub(super) struct RedisDoorbell {
    options: Arc<RedisOptions>,
    keys: Arc<Keys>,
    queues: Vec<String>,
    connection: Connection,
    tracks: bool,
}

impl RedisDoorbell {
    pub(super) fn open(options: Arc<RedisOptions>, keys: Arc<Keys>, queues: &[String]) -> Result<Self> {
        let (connection, tracks) = tracking::connect(&options)?;
        Ok(Self { options, keys, queues: queues.to_vec(), connection, tracks })
    }

    /// Arms the connection; true when there is something already.
    fn arm(&mut self) -> Result<bool> {
        let replies = self.connection.run(&tracking::look(&self.keys, &self.queues, self.tracks))?;
        // Invalidations up to now belong to earlier looks.
        self.connection.forget_pushes();
        let mut there = Value::Nil;
        for reply in replies {
            there = self.connection.accept(reply)?;
        }
        Ok(there != Value::Int(0))
    }
}

impl Doorbell for RedisDoorbell {
    fn wait(&mut self, timeout: Duration) -> Result<bool> {
        let deadline = Instant::now() + timeout;
        if !self.connection.is_open() {
            (self.connection, self.tracks) = tracking::connect(&self.options)?;
        }
        loop {
            if self.arm()? {
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            let patience = if self.tracks { REARM } else { self.options.polling_interval };
            if let Event::Frame(_) = self.connection.next_event(left.min(patience), None)? {
                return Ok(true);
            }
        }
    }
}
