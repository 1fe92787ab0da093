//! The broker thread: settles, fetches and says "alive".
//!
//! 1. While an exchange is on its way the engine's wishes collect in the outbox; the next exchange carries them all.
//!    So batches grow with the distance to the broker.
//! 2. An error of the connection: the engine is told, the consumer recovers with the tags the engine holds, and the
//!    engine gives out anew whatever was not confirmed.
//! 3. "Not now": the same exchange is tried again after a pause, and the lease is kept meanwhile.
//! 4. Access or settings refused: likewise, with long pauses; a password that was rotated may come back.
//! 5. Anything else is the fault of a single settlement (a follow-up nobody can route, a record the store refuses):
//!    each is tried alone, and the culprit's message goes to the dead letters instead.
//!
//! Nothing is dropped while it is unconfirmed: what is not settled when the worker ends comes back by its lease.

use std::sync::Arc;
use std::time::{Duration, Instant};

use umbel_broker::{Broker, BrokerError, Consumer, ConsumerOptions, NextStep, Tag};

use super::connection::{Connection, Setback};
use super::control::remember;
use super::driver::Helm;
use super::event::WorkerEvent;
use super::options::Pauses;
use super::outbox::Stopping;
use super::results::Results;
use super::shared::{Shared, ToEngine, count};

/// The broker thread.
pub(super) struct Settler {
    pub(super) broker: Arc<dyn Broker>,
    pub(super) options: ConsumerOptions,
    pub(super) results: Results,
    pub(super) pauses: Pauses,
    pub(super) shared: Arc<Shared>,
    pub(super) helm: Arc<Helm>,
}

impl Settler {
    /// Runs until the worker ends.
    pub(super) fn run(mut self) {
        let Ok(consumer) = self.open() else { return };
        let mut connection = Connection::new(consumer, &mut self);
        loop {
            match connection.serve() {
                Setback::Stopping => return connection.close(),
                Setback::Lost(error) => {
                    if connection.recover(error).is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Opens the first connection; the engine is told if that does not succeed at once.
    fn open(&self) -> Result<Box<dyn Consumer>, Stopping> {
        let mut failures = 0;
        loop {
            // What is revoked first: the engine may be given messages from then on.
            let opened = self.broker.consumer(self.options.clone());
            match opened.and_then(|consumer| remember(&*self.broker, &self.shared).map(|()| consumer)) {
                Ok(consumer) => {
                    self.connected();
                    if failures > 0 {
                        self.shared.to_engine.push(ToEngine::Reconnected(Vec::new()));
                    }
                    return Ok(consumer);
                }
                Err(error) => {
                    if failures == 0 {
                        self.disconnected()?;
                    }
                    failures += 1;
                    self.pause(&error, failures)?;
                }
            }
        }
    }

    /// Tells the engine, and returns the tags it holds.
    pub(super) fn disconnected(&self) -> Result<Vec<Tag>, Stopping> {
        count(&self.shared.traffic.disconnects, 1);
        self.shared.to_engine.push(ToEngine::Disconnected);
        self.shared.outbox.held()
    }

    pub(super) fn connected(&self) {
        self.shared.event(WorkerEvent::Connected { url: self.broker.display_url() });
    }

    /// Reports an error of the broker and waits before the next attempt, longer after each failure.
    pub(super) fn pause(&self, error: &BrokerError, failures: u32) -> Result<(), Stopping> {
        let pause = self.announce_pause(self.broker.display_url(), error, failures);
        self.shared.outbox.rest(Instant::now() + pause)
    }

    /// Reports an error and says how long to wait before the next attempt.
    pub(super) fn announce_pause(&self, url: String, error: &BrokerError, failures: u32) -> Duration {
        let failures = if error.next_step() == NextStep::GiveUp { u32::MAX } else { failures };
        let retry_in = self.pauses.after(failures);
        self.shared.event(WorkerEvent::Disconnected { url, error: error.to_string(), retry_in });
        retry_in
    }
}
