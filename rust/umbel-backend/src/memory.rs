//! Results in this process, in the same store as [`umbel_broker::MemoryBroker`]'s queues.

use std::sync::Arc;
use std::time::Duration;

use umbel_broker::memory::results::{Nudge, ResultEar};
use umbel_broker::memory::store::Store;
use umbel_broker::{Clock, MemoryBroker, Result};
use umbel_protocol::{ChordPart, ResultWrite};

use crate::backend::{Backend, ListenerWaker, ResultListener, ResultStore};

/// A result store that lives in this process.
pub struct MemoryBackend {
    store: Arc<Store>,
}

impl MemoryBackend {
    /// Results beside the queues of `broker`: one step spans both.
    pub fn beside(broker: &MemoryBroker) -> Self {
        Self { store: broker.store() }
    }

    /// The store every caller in this process gets for `name`.
    pub fn named(name: &str, clock: Arc<dyn Clock>) -> Self {
        Self::beside(&MemoryBroker::named(name, clock))
    }
}

impl Backend for MemoryBackend {
    fn display_url(&self) -> String {
        self.store.display_url()
    }

    fn identity(&self) -> String {
        self.store.identity()
    }

    fn store(&self) -> Result<Box<dyn ResultStore>> {
        Ok(Box::new(MemoryResults { store: Arc::clone(&self.store) }))
    }

    fn listener(&self) -> Result<Box<dyn ResultListener>> {
        Ok(Box::new(MemoryListener { ear: ResultEar::new(Arc::clone(&self.store)) }))
    }
}

struct MemoryResults {
    store: Arc<Store>,
}

impl ResultStore for MemoryResults {
    fn write(&mut self, batch: &[ResultWrite]) -> Result<()> {
        self.store.write_results(batch);
        Ok(())
    }

    fn read(&mut self, task_ids: &[String]) -> Result<Vec<Option<Vec<u8>>>> {
        Ok(self.store.read_results(task_ids))
    }

    fn forget(&mut self, task_ids: &[String]) -> Result<u64> {
        Ok(self.store.forget_results(task_ids))
    }

    fn remove_expired(&mut self) -> Result<u64> {
        Ok(self.store.remove_expired_results())
    }

    fn start_chord(&mut self, group: &str, size: u64, life: Option<Duration>) -> Result<()> {
        self.store.start_chord(group, size, life);
        Ok(())
    }

    fn extend_chord(&mut self, group: &str) -> Result<()> {
        self.store.extend_chord(group);
        Ok(())
    }

    fn count_part(&mut self, part: &ChordPart) -> Result<Option<String>> {
        Ok(self.store.count_part(part))
    }

    fn chord_parts(&mut self, group: &str) -> Result<Vec<Vec<u8>>> {
        Ok(self.store.chord_parts(group))
    }

    fn end_chord(&mut self, group: &str) -> Result<()> {
        self.store.end_chord(group);
        Ok(())
    }
}

struct MemoryListener {
    ear: ResultEar,
}

impl ResultListener for MemoryListener {
    fn subscribe(&mut self, task_ids: &[String]) -> Result<()> {
        self.ear.subscribe(task_ids);
        Ok(())
    }

    fn unsubscribe(&mut self, task_ids: &[String]) -> Result<()> {
        self.ear.unsubscribe(task_ids);
        Ok(())
    }

    fn next(&mut self, timeout: Duration) -> Result<Vec<(String, Vec<u8>)>> {
        Ok(self.ear.next(timeout))
    }

    fn waker(&self) -> Box<dyn ListenerWaker> {
        Box::new(MemoryWaker(self.ear.nudge()))
    }
}

struct MemoryWaker(Nudge);

impl ListenerWaker for MemoryWaker {
    fn wake(&self) {
        self.0.nudge();
    }
}
