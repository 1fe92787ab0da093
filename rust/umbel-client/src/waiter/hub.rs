//! Who waits for which id, and the records that have come: what callers and the listener thread share.

use std::collections::{HashMap, HashSet, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::EventfdFlags;
use umbel_backend::{Backend, ListenerWaker};
use umbel_broker::sync::Condvar;
use umbel_broker::{BrokerError, Result};
use umbel_protocol::result::states;

use super::Record;

/// Ids in one batch of subscriptions or reads.
pub(super) const BATCH: usize = 512;

/// Ids that nobody wants any more before they are unsubscribed.
const ENOUGH_STALE: usize = 64;

pub(super) struct Hub {
    backend: Arc<dyn Backend>,
    wanted: HashMap<String, Want>,
    /// Ids to be subscribed and read.
    fresh: Vec<String>,
    /// Ids that were forgotten and may still be subscribed.
    stale: Vec<String>,
    /// Watched ids with a record that was not drained.
    ready: VecDeque<String>,
    /// Readable while `ready` is not empty, for event loops.
    bell: Option<OwnedFd>,
    /// Threads that wait for many ids at once.
    streams: HashMap<u64, Stream>,
    next_stream: u64,

    running: bool,
    closing: bool,
    /// Wakes the listener thread out of the listener, once there is one.
    waker: Option<Arc<dyn ListenerWaker>>,
    /// Wakes the listener thread out of a pause.
    pub(super) resumed: Arc<Condvar>,
    /// The connection is lost: since when, and why.
    lost: Option<(Instant, BrokerError)>,
    /// The thread has ended because of this.
    failure: Option<BrokerError>,
    /// Whether `drain` has yet to report the trouble there is.
    tell: bool,
}

struct Want {
    waiters: usize,
    watched: bool,
    /// Whether it is in `ready`.
    queued: bool,
    record: Option<Record>,
    changed: Arc<Condvar>,
    /// Keys of `streams` that want it.
    streams: Vec<u64>,
}

impl Want {
    fn is_over(&self) -> bool {
        self.waiters == 0 && !self.watched && self.streams.is_empty()
    }
}

/// Many ids that one thread waits for.
#[derive(Default)]
struct Stream {
    task_ids: HashSet<String>,
    /// What was not taken yet, in the order in which it came.
    news: VecDeque<(String, Record)>,
    changed: Arc<Condvar>,
}

/// What the listener thread is to do next.
pub(super) struct Chores {
    pub(super) fresh: Vec<String>,
    pub(super) stale: Vec<String>,
    /// How long it may then listen.
    pub(super) listen: Duration,
}

/// Callers.
impl Hub {
    /// Nobody waits for anything yet; records may be at hand in `backend`.
    pub(super) fn new(backend: Arc<dyn Backend>) -> Self {
        Self {
            backend,
            wanted: HashMap::new(),
            fresh: Vec::new(),
            stale: Vec::new(),
            ready: VecDeque::new(),
            bell: None,
            streams: HashMap::new(),
            next_stream: 0,
            running: false,
            closing: false,
            waker: None,
            resumed: Arc::default(),
            lost: None,
            failure: None,
            tell: false,
        }
    }

    /// Whether a listener thread must be started now.
    pub(super) fn start(&mut self) -> bool {
        let start = !self.running;
        if start {
            self.running = true;
            self.failure = None;
        }
        start
    }

    /// Counts a waiter for `task_id`; what it returns is notified of news.
    pub(super) fn join(&mut self, task_id: &str) -> Arc<Condvar> {
        let want = self.want(task_id);
        want.waiters += 1;
        Arc::clone(&want.changed)
    }

    /// Counts a waiter less.
    pub(super) fn leave(&mut self, task_id: &str) {
        if let Some(want) = self.wanted.get_mut(task_id) {
            want.waiters = want.waiters.saturating_sub(1);
        }
        self.forget_unwanted(task_id);
    }

    pub(super) fn watch(&mut self, task_id: &str) {
        let want = self.want(task_id);
        want.watched = true;
        if want.record.is_some() && !want.queued {
            want.queued = true;
            self.ready.push_back(task_id.to_owned());
            self.ring();
        }
    }

    pub(super) fn unwatch(&mut self, task_id: &str) {
        if let Some(want) = self.wanted.get_mut(task_id) {
            want.watched = false;
            if std::mem::take(&mut want.queued) {
                self.ready.retain(|ready| ready != task_id);
            }
        }
        self.forget_unwanted(task_id);
    }

    /// The record of `task_id` if there is one and it differs from `seen`.
    pub(super) fn news(&self, task_id: &str, seen: Option<&[u8]>) -> Option<Record> {
        let record = self.wanted.get(task_id)?.record.as_ref()?;
        (Some(record.as_slice()) != seen).then(|| Arc::clone(record))
    }

    /// The store's error if a wait that began at `start` should fail: it refuses, or has been out of reach for
    /// `patience` of that time.
    pub(super) fn trouble(&self, patience: Duration, start: Option<Instant>) -> Option<BrokerError> {
        if self.failure.is_some() {
            return self.failure.clone();
        }
        let (since, error) = self.lost.as_ref()?;
        let since = start.map_or(*since, |start| start.max(*since));
        (since.elapsed() >= patience).then(|| error.clone())
    }

    pub(super) fn drain(&mut self, patience: Duration) -> Result<Vec<(String, Record)>> {
        self.silence();
        if self.tell
            && let Some(error) = self.trouble(patience, None)
        {
            self.tell = false;
            return Err(error);
        }
        let ids = std::mem::take(&mut self.ready);
        Ok(ids.into_iter().filter_map(|id| self.take_ready(id)).collect())
    }

    fn take_ready(&mut self, task_id: String) -> Option<(String, Record)> {
        let want = self.wanted.get_mut(&task_id)?;
        want.queued = false;
        let record = Arc::clone(want.record.as_ref()?);
        Some((task_id, record))
    }

    pub(super) fn wanted(&self) -> usize {
        self.wanted.len()
    }

    pub(super) fn close(&mut self) {
        self.closing = true;
        self.resumed.notify_all();
        self.wake();
    }

    /// The descriptor for event loops, made at first use.
    pub(super) fn bell(&mut self) -> Result<&OwnedFd> {
        if self.bell.is_none() {
            let made = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
            let bell = made.map_err(|error| BrokerError::Unavailable {
                url: "results".to_owned(),
                detail: format!("cannot make a descriptor to wait on: {error}"),
            })?;
            self.bell = Some(bell);
            if !self.ready.is_empty() || self.tell {
                self.ring();
            }
        }
        self.bell.as_ref().ok_or_else(|| BrokerError::Protocol { detail: "no descriptor".to_owned() })
    }

    fn want(&mut self, task_id: &str) -> &mut Want {
        if !self.wanted.contains_key(task_id) {
            self.fresh.push(task_id.to_owned());
            self.wake();
        }
        let backend = &self.backend;
        self.wanted.entry(task_id.to_owned()).or_insert_with(|| Want {
            waiters: 0,
            watched: false,
            queued: false,
            record: backend.at_hand(task_id).map(Arc::new),
            changed: Arc::default(),
            streams: Vec::new(),
        })
    }

    fn forget_unwanted(&mut self, task_id: &str) {
        if self.wanted.get(task_id).is_some_and(Want::is_over)
            && let Some((task_id, _)) = self.wanted.remove_entry(task_id)
        {
            self.stale.push(task_id);
        }
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake();
        }
    }

    fn ring(&self) {
        if let Some(bell) = &self.bell {
            // Fails only when the counter is full, and then it is readable.
            let _ = rustix::io::write(bell, &1u64.to_ne_bytes());
        }
    }

    fn silence(&self) {
        if let Some(bell) = &self.bell {
            // Empties the counter; there is nothing to learn from its value.
            let _ = rustix::io::read(bell, &mut [0u8; 8]);
        }
    }
}

/// Streams.
impl Hub {
    pub(super) fn open_stream(&mut self) -> (u64, Arc<Condvar>) {
        self.next_stream += 1;
        let stream = Stream::default();
        let changed = Arc::clone(&stream.changed);
        self.streams.insert(self.next_stream, stream);
        (self.next_stream, changed)
    }

    /// Adds ids; present records are news.
    pub(super) fn extend_stream(&mut self, key: u64, task_ids: Vec<String>) {
        for task_id in task_ids {
            let Some(stream) = self.streams.get_mut(&key) else { return };
            if !stream.task_ids.insert(task_id.clone()) {
                continue;
            }
            let want = self.want(&task_id);
            want.streams.push(key);
            let known = want.record.clone();
            if let Some(record) = known
                && let Some(stream) = self.streams.get_mut(&key)
            {
                stream.news.push_back((task_id, record));
                stream.changed.notify_all();
            }
        }
    }

    pub(super) fn shrink_stream(&mut self, key: u64, task_ids: &[String]) {
        for task_id in task_ids {
            let Some(stream) = self.streams.get_mut(&key) else { return };
            if stream.task_ids.remove(task_id) {
                self.leave_stream(key, task_id);
            }
        }
    }

    /// The news of a stream, `most` of them at most; none if it is closed.
    pub(super) fn take_news(&mut self, key: u64, most: usize) -> Vec<(String, Record)> {
        let Some(stream) = self.streams.get_mut(&key) else { return Vec::new() };
        let count = stream.news.len().min(most);
        stream.news.drain(..count).collect()
    }

    pub(super) fn has_stream(&self, key: u64) -> bool {
        self.streams.contains_key(&key)
    }

    pub(super) fn close_stream(&mut self, key: u64) {
        if let Some(stream) = self.streams.remove(&key) {
            stream.task_ids.iter().for_each(|task_id| self.leave_stream(key, task_id));
            stream.changed.notify_all();
        }
    }

    fn leave_stream(&mut self, key: u64, task_id: &str) {
        if let Some(want) = self.wanted.get_mut(task_id) {
            want.streams.retain(|other| *other != key);
        }
        self.forget_unwanted(task_id);
    }
}

/// The listener thread.
impl Hub {
    /// A connection is there: everything wanted must be subscribed and read on it.
    pub(super) fn connected(&mut self, waker: Box<dyn ListenerWaker>) {
        self.waker = Some(Arc::from(waker));
        self.fresh = self.wanted.keys().cloned().collect();
        self.stale.clear();
    }

    /// A whole round went well.
    pub(super) fn settled(&mut self) {
        self.lost = None;
    }

    /// The connection is lost; it will be tried again.
    pub(super) fn lost(&mut self, error: BrokerError) {
        self.waker = None;
        if self.lost.is_none() {
            self.lost = Some((Instant::now(), error));
        } else if let Some((_, last)) = &mut self.lost {
            *last = error;
        }
        self.tell = true;
        self.tell_everybody();
    }

    /// The thread has ended, because of an error that trying again does not help, or because it was told to.
    pub(super) fn stopped(&mut self, failure: Option<BrokerError>) {
        self.running = false;
        self.waker = None;
        self.lost = None;
        self.tell = failure.is_some();
        self.failure = failure;
        self.tell_everybody();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    /// What there is to do before listening on.
    pub(super) fn chores(&mut self) -> Chores {
        // An id may have been forgotten and wanted again, or wanted and forgotten, since.
        let fresh = std::mem::take(&mut self.fresh).into_iter().filter(|id| self.wanted.contains_key(id)).collect();
        let stale = if self.stale.len() < ENOUGH_STALE {
            Vec::new()
        } else {
            let stale = std::mem::take(&mut self.stale);
            stale.into_iter().filter(|id| !self.wanted.contains_key(id)).collect()
        };
        Chores { fresh, stale, listen: Duration::from_secs(60) }
    }

    /// Hands on a record, if anybody wants it.
    ///
    /// An end that was heard of stays: a Celery worker stores that a task will be tried again after it has sent the
    /// next try, so that "RETRY" may be written over the result of a try that is over already.
    pub(super) fn deliver(&mut self, task_id: &str, record: Vec<u8>) {
        let Some(want) = self.wanted.get_mut(task_id) else { return };
        let ended = want.record.as_ref().is_some_and(|known| is_end(known));
        if want.record.as_deref() == Some(&record) || (ended && !is_end(&record)) {
            return;
        }
        let record = Arc::new(record);
        want.record = Some(Arc::clone(&record));
        want.changed.notify_all();
        for key in &want.streams {
            if let Some(stream) = self.streams.get_mut(key) {
                stream.news.push_back((task_id.to_owned(), Arc::clone(&record)));
                stream.changed.notify_all();
            }
        }
        if want.watched && !want.queued {
            want.queued = true;
            self.ready.push_back(task_id.to_owned());
            self.ring();
        }
    }

    /// Whether the record of `task_id` that was handed on last is `record`.
    pub(super) fn is_known(&self, task_id: &str, record: &[u8]) -> bool {
        self.wanted.get(task_id).and_then(|want| want.record.as_deref()).is_some_and(|known| known == record)
    }

    fn tell_everybody(&self) {
        self.wanted.values().for_each(|want| {
            want.changed.notify_all();
        });
        self.streams.values().for_each(|stream| {
            stream.changed.notify_all();
        });
        if self.tell {
            self.ring();
        }
    }
}

/// Whether a record says that its task has ended, as far as that can be seen.
pub(super) fn is_end(record: &[u8]) -> bool {
    states::of_json(record).is_some_and(states::is_ready)
}
