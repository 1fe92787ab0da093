//! Publishing into this process.

use std::sync::Arc;

use umbel_protocol::Destination;

use super::store::Store;
use crate::broker::{ExchangeKind, Outgoing, Publisher};
use crate::error::Result;
use crate::once::{Lock, Taken};

pub(super) struct MemoryPublisher {
    store: Arc<Store>,
}

impl MemoryPublisher {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self { store }
    }
}

impl Publisher for MemoryPublisher {
    fn publish(&mut self, batch: &[Outgoing]) -> Result<()> {
        self.store.change(|state, now| state.publish(batch, now))
    }

    fn publish_once(&mut self, outgoing: &Outgoing, lock: &Lock) -> Result<Taken> {
        self.store.change(|state, now| state.publish_once(outgoing, lock, now))
    }

    fn bind(&mut self, queue: &str, destination: &Destination, kind: ExchangeKind) -> Result<()> {
        self.store.change(|state, _| state.bind(queue, destination, kind))
    }
}
