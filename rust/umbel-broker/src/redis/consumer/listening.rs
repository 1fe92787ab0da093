//! Hearing of work on the consumer's own connection.
//!
//! Once somebody has listened, each fetch carries the look that arms the connection with it: then there is no round
//! trip between finding nothing and listening.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use super::RedisConsumer;
use crate::error::{BrokerError, Result};
use crate::redis::keys::Keys;
use crate::redis::tracking::{self, REARM};
use crate::redis::wire::{Event, Pipeline, Value};

/// What a consumer knows of its connection's ear.
#[derive(Default)]
pub(super) struct Ear {
    /// The question that arms it; `None` where the server does not track.
    look: Option<Pipeline>,
    /// The server will tell of the next message.
    armed: bool,
    /// Somebody has listened on this connection.
    used: bool,
}

impl Ear {
    /// Of a new connection.
    pub(super) fn of(keys: &Keys, queues: &[String], tracks: bool) -> Self {
        let look = tracks.then(|| tracking::look(keys, queues, tracks));
        Self { look, armed: false, used: false }
    }

    pub(super) fn tracks(&self) -> bool {
        self.look.is_some()
    }

    /// The look that goes with a fetch, if it is worth while.
    pub(super) fn look_along(&self) -> Option<&Pipeline> {
        self.look.as_ref().filter(|_| self.used && !self.armed)
    }
}

impl RedisConsumer {
    /// [`crate::Consumer::listen`].
    pub(super) fn hear(&mut self, timeout: Duration, waker: BorrowedFd<'_>) -> Result<bool> {
        let deadline = Instant::now() + timeout;
        self.ear.used = true;
        loop {
            if !self.ear.armed && self.look()? {
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.connection()?.next_event(left.min(REARM), Some(waker))? {
                Event::Frame(_) => {
                    self.ear.armed = false;
                    return Ok(true);
                }
                Event::Woken => return Ok(false),
                Event::Timeout if left <= REARM => return Ok(false),
                Event::Timeout => self.ear.armed = false,
            }
        }
    }

    /// Arms the connection; true when there is something already.
    fn look(&mut self) -> Result<bool> {
        let Some(look) = self.ear.look.clone() else { return Ok(true) };
        let replies = self.connection()?.run(&look)?;
        self.looked(replies)?;
        Ok(!self.ear.armed)
    }

    /// Takes in the replies to a look that went with a fetch, if there was one.
    pub(super) fn looked_along(&mut self, replies: Vec<Value>) -> Result<()> {
        if replies.is_empty() { self.forget_rings() } else { self.looked(replies) }
    }

    /// Takes in the replies to a look. A server that refuses it is asked no more: whoever fetches has another doorbell.
    fn looked(&mut self, replies: Vec<Value>) -> Result<()> {
        self.forget_rings()?;
        let mut there = Value::Nil;
        for reply in replies {
            match self.connection()?.accept(reply) {
                Ok(value) => there = value,
                Err(error @ BrokerError::Connection { .. }) => return Err(error),
                Err(error) => {
                    log::warn!("cannot hear of messages on the connection that fetches them: {error}");
                    self.ear = Ear::default();
                    return Ok(());
                }
            }
        }
        self.ear.armed = there == Value::Int(0);
        Ok(())
    }

    /// What rang before the last reply needs no more attention: whoever asked has seen what it was about.
    fn forget_rings(&mut self) -> Result<()> {
        if self.connection()?.forget_pushes() {
            self.ear.armed = false;
        }
        Ok(())
    }
}
