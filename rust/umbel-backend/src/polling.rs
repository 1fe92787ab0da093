//! Hearing of records in stores that tell nobody: they are read again and again, the less often the quieter it is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use umbel_broker::Result;
use umbel_broker::sync::{Condvar, Mutex};
use umbel_protocol::result::states;

use crate::backend::{ListenerWaker, ResultListener, ResultStore};

/// Pause after the first look without news; it doubles each time.
const FIRST: Duration = Duration::from_millis(5);
/// It grows no further than this.
const LONGEST: Duration = Duration::from_millis(250);
/// But this many times the look itself took, so that a slow store is not kept busy.
const REST: u32 = 4;
/// Records read at once.
const BATCH: usize = 500;

/// Listens by looking.
pub struct PollingListener {
    store: Box<dyn ResultStore>,
    /// The record seen last of each task.
    watched: BTreeMap<String, Option<Vec<u8>>>,
    pause: Duration,
    nudge: Arc<Nudge>,
}

#[derive(Default)]
struct Nudge {
    nudged: Mutex<bool>,
    changed: Condvar,
}

impl PollingListener {
    /// Listens to what can be read from `store`.
    pub fn new(store: Box<dyn ResultStore>) -> Self {
        Self { store, watched: BTreeMap::new(), pause: FIRST, nudge: Arc::default() }
    }

    /// Records that have changed since the last look. Those of tasks that have ended change no more.
    fn look(&mut self) -> Result<Vec<(String, Vec<u8>)>> {
        let open = self.watched.iter().filter(|(_, record)| !record.as_deref().is_some_and(is_end));
        let open: Vec<String> = open.map(|(task_id, _)| task_id.clone()).collect();
        let mut news = Vec::new();
        for page in open.chunks(BATCH) {
            for (task_id, record) in page.iter().zip(self.store.read(page)?) {
                let seen = self.watched.get_mut(task_id);
                if let (Some(seen), Some(record)) = (seen, record)
                    && seen.as_ref() != Some(&record)
                {
                    *seen = Some(record.clone());
                    news.push((task_id.clone(), record));
                }
            }
        }
        Ok(news)
    }
}

/// Whether a record says that its task has ended, as far as that can be seen.
fn is_end(record: &[u8]) -> bool {
    states::of_json(record).is_some_and(states::is_ready)
}

impl ResultListener for PollingListener {
    fn subscribe(&mut self, task_ids: &[String]) -> Result<()> {
        self.subscribe_and_read(task_ids).map(drop)
    }

    fn subscribe_and_read(&mut self, task_ids: &[String]) -> Result<Option<Vec<Option<Vec<u8>>>>> {
        let mut found = Vec::with_capacity(task_ids.len());
        for page in task_ids.chunks(BATCH) {
            found.extend(self.store.read(page)?);
        }
        for (task_id, record) in task_ids.iter().zip(&found) {
            self.watched.insert(task_id.clone(), record.clone());
        }
        self.pause = FIRST;
        Ok(Some(found))
    }

    fn unsubscribe(&mut self, task_ids: &[String]) -> Result<()> {
        for task_id in task_ids {
            self.watched.remove(task_id);
        }
        Ok(())
    }

    fn next(&mut self, timeout: Duration) -> Result<Vec<(String, Vec<u8>)>> {
        let until = Instant::now() + timeout;
        loop {
            let started = Instant::now();
            let news = self.look()?;
            if !news.is_empty() {
                self.pause = FIRST;
                return Ok(news);
            }
            let pause = if self.watched.is_empty() { timeout } else { self.pause.max(started.elapsed() * REST) };
            if self.nudge.wait(until.min(Instant::now() + pause)) || Instant::now() >= until {
                return Ok(Vec::new());
            }
            self.pause = LONGEST.min(self.pause * 2);
        }
    }

    fn waker(&self) -> Box<dyn ListenerWaker> {
        Box::new(PollingWaker(Arc::clone(&self.nudge)))
    }
}

impl Nudge {
    /// Waits until then; true if somebody nudged.
    fn wait(&self, until: Instant) -> bool {
        let mut nudged = self.nudged.lock();
        let mut late = false;
        while !*nudged && !late {
            (nudged, late) = self.changed.wait_until(nudged, until);
        }
        std::mem::take(&mut *nudged)
    }
}

struct PollingWaker(Arc<Nudge>);

impl ListenerWaker for PollingWaker {
    fn wake(&self) {
        *self.0.nudged.lock() = true;
        self.0.changed.notify_all();
    }
}
