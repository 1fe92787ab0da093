//! The in-process engine: for tests, `task_always_eager`-like set-ups and programs that are their own worker.
//!
//! Handles opened from one [`MemoryBroker`] (or from one `memory://name` URL) share a [`store::Store`]: one lock,
//! one condition variable. It keeps every promise of the contract except surviving its process.

mod admin;
mod chords;
mod consumer;
mod control;
mod doorbell;
mod lines;
mod locks;
mod publisher;
pub mod results;
mod slots;
mod state;
pub mod store;

use std::sync::Arc;

use crate::broker::{Admin, Broker, Consumer, ConsumerOptions, Doorbell, Publisher};
use crate::clock::Clock;
use crate::control::{Control, Listener};
use crate::error::Result;
use store::Store;

/// A broker that lives in this process.
pub struct MemoryBroker {
    store: Arc<Store>,
}

impl MemoryBroker {
    /// A broker of its own, shared with nobody.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { store: Store::private(clock) }
    }

    /// The broker every caller in this process gets for `name`. The first one's clock counts.
    pub fn named(name: &str, clock: Arc<dyn Clock>) -> Self {
        Self { store: Store::named(name, clock) }
    }

    /// What the handles share; a result store over it settles in the same step as this broker.
    pub fn store(&self) -> Arc<Store> {
        Arc::clone(&self.store)
    }
}

impl Broker for MemoryBroker {
    fn display_url(&self) -> String {
        self.store.display_url()
    }

    fn identity(&self) -> String {
        self.store.identity()
    }

    fn publisher(&self) -> Result<Box<dyn Publisher>> {
        Ok(Box::new(publisher::MemoryPublisher::new(self.store())))
    }

    fn consumer(&self, options: ConsumerOptions) -> Result<Box<dyn Consumer>> {
        Ok(Box::new(consumer::MemoryConsumer::open(self.store(), options)))
    }

    fn doorbell(&self, queues: &[String]) -> Result<Box<dyn Doorbell>> {
        Ok(Box::new(doorbell::MemoryDoorbell::new(self.store(), queues)))
    }

    fn admin(&self) -> Result<Box<dyn Admin>> {
        Ok(Box::new(admin::MemoryAdmin::new(self.store())))
    }

    fn control(&self) -> Result<Box<dyn Control>> {
        Ok(Box::new(control::MemoryControl::new(self.store())))
    }

    fn listener(&self, exchange: &str) -> Result<Box<dyn Listener>> {
        Ok(Box::new(control::MemoryListener::new(self.store(), exchange)))
    }
}
