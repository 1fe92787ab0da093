//! Hearing of work: the server's own invalidation messages, or looking often.
//!
//! `CLIENT TRACKING` makes the server remember the keys a connection has read and tell it once when one changes. Asking
//! `EXISTS` for the lists arms it for all of them at once, even for lists that do not exist yet, and answers whether
//! there is something now: between the two nothing is missed. Messages are taken by the consumer, never here, so a
//! doorbell can be lost without losing anything.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::keys::Keys;
use super::options::RedisOptions;
use super::wire::{Command, Connection, Event, Pipeline, Protocol, Value};
use crate::broker::Doorbell;
use crate::error::{BrokerError, Result};

/// How long an armed connection is trusted before it is asked again: notices a peer that vanished, and covers servers
/// that forget.
const REARM: Duration = Duration::from_secs(5);

/// Tells that lists may have messages.
pub(super) struct RedisDoorbell {
    options: Arc<RedisOptions>,
    look: Pipeline,
    connection: Connection,
    tracks: bool,
}

impl RedisDoorbell {
    pub(super) fn open(options: Arc<RedisOptions>, keys: &Keys, queues: &[String]) -> Result<Self> {
        let lists = queues.iter().flat_map(|queue| keys.lists(queue));
        let look = Pipeline::of(&Command::new("EXISTS").args(lists));
        let (connection, tracks) = connect(&options)?;
        Ok(Self { options, look, connection, tracks })
    }

    /// Arms the connection; true when there is something already.
    fn arm(&mut self) -> Result<bool> {
        self.connection.send(&self.look)?;
        let reply = self.connection.reply()?;
        Ok(self.connection.accept(reply)? != Value::Int(0))
    }

    /// Invalidations up to now belong to earlier looks.
    fn forget_old_rings(&mut self) -> Result<()> {
        while self.connection.next_event(Duration::ZERO, None)? != Event::Timeout {}
        Ok(())
    }
}

impl Doorbell for RedisDoorbell {
    fn wait(&mut self, timeout: Duration) -> Result<bool> {
        let deadline = Instant::now() + timeout;
        if !self.connection.is_open() {
            (self.connection, self.tracks) = connect(&self.options)?;
        }
        if self.tracks {
            self.forget_old_rings()?;
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

/// A connection that tracks; where the server or a proxy will not, one that polls.
fn connect(options: &RedisOptions) -> Result<(Connection, bool)> {
    if options.client_tracking {
        match tracking(options) {
            Err(BrokerError::Protocol { .. } | BrokerError::Access { .. }) => {}
            outcome => return outcome.map(|connection| (connection, true)),
        }
    }
    Ok((Connection::open(options, Protocol::Resp2)?, false))
}

fn tracking(options: &RedisOptions) -> Result<Connection> {
    let mut connection = Connection::open(options, Protocol::Resp3)?;
    connection.query(&Command::new("CLIENT").arg("TRACKING").arg("ON"))?;
    Ok(connection)
}
