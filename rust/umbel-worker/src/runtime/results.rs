//! Results, and the order of things when they go to another store than the broker.
//!
//! That order is: results first, then one exchange that publishes the follow-ups and acknowledges. A crash between the two
//! repeats the task, whose follow-ups were not sent yet, and its result is not overwritten once it says `SUCCESS`.
//! Thus nothing is lost, and follow-ups are sent once where the broker can publish and acknowledge in one step.

use std::sync::Arc;

use umbel_backend::{Backend, ResultStore};
use umbel_broker::{Broker, Result};
use umbel_protocol::{ChordPart, ResultWrite};

/// Where results go.
pub(super) enum Results {
    /// Nowhere: there is no result store.
    Dropped,
    /// With the settlements, in one step.
    Settled,
    /// To a store of their own.
    Apart(Apart),
}

/// A connection to a result store, opened when first needed and after each loss.
pub(super) struct Apart {
    backend: Arc<dyn Backend>,
    store: Option<Box<dyn ResultStore>>,
}

impl Results {
    pub(super) fn of(broker: &dyn Broker, backend: Option<Arc<dyn Backend>>) -> Self {
        match backend {
            None => Self::Dropped,
            Some(backend) if backend.identity() == broker.identity() => Self::Settled,
            Some(backend) => Self::Apart(Apart { backend, store: None }),
        }
    }
}

impl Apart {
    pub(super) fn display_url(&self) -> String {
        self.backend.display_url()
    }

    /// Counts a part of a chord once; the members if it is complete.
    pub(super) fn count_part(&mut self, part: &ChordPart) -> Result<Option<String>> {
        self.with(|store| store.count_part(part))
    }

    /// Forgets a chord.
    pub(super) fn end_chord(&mut self, group: &str) -> Result<()> {
        self.with(|store| store.end_chord(group))
    }

    /// Writes once. After an error the connection is opened anew.
    pub(super) fn write(&mut self, batch: &[ResultWrite]) -> Result<()> {
        self.with(|store| store.write(batch))
    }

    fn with<T>(&mut self, work: impl FnOnce(&mut dyn ResultStore) -> Result<T>) -> Result<T> {
        let store = match &mut self.store {
            Some(store) => store,
            None => self.store.insert(self.backend.store()?),
        };
        let done = work(&mut **store);
        if done.is_err() {
            self.store = None;
        }
        done
    }
}
