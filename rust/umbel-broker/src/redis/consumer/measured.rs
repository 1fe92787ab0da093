//! Settling as far as it needs no server, for micro-benchmarks.

use std::sync::Arc;

use super::settling::Known;
use super::{Keys, RedisConsumer, RedisOptions};
use crate::broker::{ConsumerOptions, Settlement};
use crate::error::Result;

/// A consumer that was never connected.
pub struct SettlementWriter(RedisConsumer);

impl SettlementWriter {
    /// A writer for a worker's settlements.
    pub fn new(options: RedisOptions, worker: ConsumerOptions) -> Self {
        let keys = Arc::new(Keys::new(&options));
        Self(RedisConsumer::unconnected(Arc::new(options), keys, worker))
    }

    /// Encodes a batch as arguments of script calls; tells how many bytes they are.
    ///
    /// # Errors
    /// [`crate::BrokerError::Unroutable`] for a follow-up to an exchange: its bindings are on the server.
    pub fn write(&mut self, settlements: &[Settlement]) -> Result<usize> {
        let all: Vec<usize> = (0..settlements.len()).collect();
        let calls = self.0.settle_calls(settlements, &all, &Known::default())?;
        Ok(calls.iter().map(super::settling::Call::len).sum())
    }
}
