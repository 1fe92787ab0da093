//! Consuming: settle and fetch in one round trip, leases, and what to do after a lost connection.
//!
//! A consumer remembers the tags it holds and nothing of their messages: the few settlements that need the envelope
//! (requeue, delay, dead) read it back first.

mod chords;
mod fetching;
mod give_back;
mod listening;
mod measured;
mod reclaim;
mod settling;
mod slots;
mod turn;

pub use self::measured::SettlementWriter;

use std::collections::{HashSet, VecDeque};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use umbel_protocol::Timestamp;

use self::listening::Ear;
use self::turn::Turn;
use super::keys::Keys;
use super::options::RedisOptions;
use super::router::Router;
use super::wire::{Command, Connection, Pipeline, Value};
use super::{culprit, scripts, tracking};
use crate::broker::{Consumer, ConsumerOptions, Delivery, Exchanged, Settlement, Tag};
use crate::error::{BrokerError, Result};
use crate::lines::{STALE, WINDOW};
use crate::slots::{LOOKED_AFTER, STRANDED};

/// Most messages that one script call moves or settles: the server serves nobody else meanwhile.
const BATCH: usize = 64;

/// Takes messages and settles them.
pub(super) struct RedisConsumer {
    options: Arc<RedisOptions>,
    keys: Arc<Keys>,
    worker: ConsumerOptions,
    /// Absent after an error, until [`Consumer::recover`].
    connection: Option<Connection>,
    ear: Ear,
    router: Router,
    turn: Turn,
    epoch: u64,
    sequence: u64,
    held: HashSet<Arc<str>>,
    /// Fetched in a call that failed for another reason; handed out by the next.
    ready: VecDeque<Delivery>,
    /// Settled in calls that failed for another reason, which the caller will repeat.
    settled: HashSet<Arc<str>>,
    next_due: Option<Timestamp>,
    swept: Option<Instant>,
}

impl RedisConsumer {
    pub(super) fn open(options: Arc<RedisOptions>, keys: Arc<Keys>, worker: ConsumerOptions) -> Result<Self> {
        let mut consumer = Self::unconnected(options, keys, worker);
        consumer.connect()?;
        Ok(consumer)
    }

    fn unconnected(options: Arc<RedisOptions>, keys: Arc<Keys>, worker: ConsumerOptions) -> Self {
        Self {
            router: Router::new(keys.clone()),
            turn: Turn::new(&keys, &worker.queues),
            options,
            keys,
            worker,
            connection: None,
            ear: Ear::default(),
            epoch: 0,
            sequence: 0,
            held: HashSet::new(),
            ready: VecDeque::new(),
            settled: HashSet::new(),
            next_due: None,
            swept: None,
        }
    }

    /// Connects under a new epoch: what an older connection still has on its way to the server will move nothing.
    fn connect(&mut self) -> Result<()> {
        self.connection = None;
        let (mut connection, tracks) = tracking::connect(&self.options)?;
        self.ear = Ear::of(&self.keys, &self.worker.queues, tracks);
        self.epoch = (self.epoch + 1).max(microseconds_now());
        self.sequence = 0;
        let call = connection
            .script(&scripts::TAKE_OVER)?
            .number(2)
            .arg(self.keys.heartbeat(&self.worker.worker_id))
            .arg(&self.keys.workers)
            .args(self.identity());
        connection.query(&call)?;
        self.connection = Some(connection);
        Ok(())
    }

    /// The arguments by which scripts know this worker: epoch, lease, id.
    fn identity(&self) -> [String; 3] {
        let lease = self.worker.lease.as_millis().max(1);
        [self.epoch.to_string(), lease.to_string(), self.worker.worker_id.clone()]
    }

    fn connection(&mut self) -> Result<&mut Connection> {
        match &mut self.connection {
            Some(connection) => Ok(connection),
            None => Err(BrokerError::Connection {
                url: self.options.display.to_string(),
                detail: "the consumer must recover first".to_owned(),
            }),
        }
    }

    /// Runs `work`; after a connection error the connection is given up, so that only `recover` goes on.
    fn guarded<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let outcome = work(self);
        if matches!(outcome, Err(BrokerError::Connection { .. })) {
            self.connection = None;
        }
        outcome.map_err(|error| self.explain(error))
    }

    fn explain(&mut self, error: BrokerError) -> BrokerError {
        let (keys, queues) = (&self.keys, &self.worker.queues);
        match &mut self.connection {
            Some(connection) => culprit::name(connection, error, || keys.typed(queues.iter().map(String::as_str))),
            None => error,
        }
    }

    fn fenced(&self) -> BrokerError {
        let id = &self.worker.worker_id;
        BrokerError::Protocol {
            detail: format!("another consumer has taken over the worker id {id:?}; ids must be unique"),
        }
    }

    fn heartbeat_call(&mut self, tags: &[&Arc<str>]) -> Result<Command> {
        let keys = self.keys.clone();
        let identity = self.identity();
        let heartbeat = keys.heartbeat(&self.worker.worker_id);
        let call = self.connection()?.script(&scripts::HEARTBEAT)?;
        let call = call.number(4).arg(heartbeat).args([&keys.workers, &keys.unacked_index, &keys.delayed]);
        let call = call.args(identity).arg(keys.own()).number(LOOKED_AFTER).number(STRANDED);
        let call = call.number(STALE.as_millis()).number(WINDOW);
        Ok(call.args(tags.iter().map(|tag| tag.as_bytes())))
    }

    /// One beat; returns the server's time and the workers that seem to be gone.
    fn beat(&mut self) -> Result<(f64, Vec<String>)> {
        let held: Vec<Arc<str>> = self.held.iter().cloned().collect();
        let tags: Vec<&Arc<str>> = held.iter().collect();
        let mut calls = Pipeline::default();
        for chunk in tags.chunks(512) {
            calls.add(&self.heartbeat_call(chunk)?);
        }
        if tags.is_empty() {
            calls.add(&self.heartbeat_call(&[])?);
        }
        let replies = self.connection()?.run(&calls)?;
        let mut latest = Vec::new();
        for reply in replies {
            latest = self.connection()?.accept(reply)?.into_elements();
        }
        if latest.first().and_then(Value::as_str) != Some("ok") {
            return Err(self.fenced());
        }
        let now = seconds(latest.get(1)).unwrap_or_default();
        self.next_due = seconds(latest.get(2)).map(Timestamp::from_seconds);
        let others = latest.iter().skip(3).filter_map(Value::as_str).filter(|id| *id != self.worker.worker_id);
        Ok((now, others.map(str::to_owned).collect()))
    }
}

impl Consumer for RedisConsumer {
    fn exchange(&mut self, settlements: &[Settlement], want: usize) -> Result<Exchanged> {
        self.guarded(|consumer| consumer.settle_and_fetch(settlements, want))
    }

    fn heartbeat(&mut self) -> Result<usize> {
        self.guarded(|consumer| {
            let (now, silent) = consumer.beat()?;
            consumer.release_due(now)?;
            let mut count = 0;
            for worker_id in silent {
                count += consumer.reclaim(&worker_id)?;
            }
            Ok(count + consumer.sweep(now)?)
        })
    }

    fn listens(&self) -> bool {
        self.ear.tracks()
    }

    fn listen(&mut self, timeout: Duration, waker: BorrowedFd<'_>) -> Result<bool> {
        self.guarded(|consumer| consumer.hear(timeout, waker))
    }

    fn recover(&mut self, known: &[Tag]) -> Result<Vec<Tag>> {
        self.guarded(|consumer| {
            consumer.ready.clear();
            consumer.settled.clear();
            consumer.connect()?;
            let there = consumer.own_tags()?;
            let held: HashSet<&str> = there.iter().map(String::as_str).collect();
            let (kept, lost): (Vec<&Tag>, Vec<&Tag>) = known.iter().partition(|tag| held.contains(&*tag.0));
            consumer.held = kept.into_iter().map(|tag| tag.0.clone()).collect();
            let unknown: Vec<String> =
                there.iter().filter(|tag| !consumer.held.contains(tag.as_str())).cloned().collect();
            consumer.give_back(&unknown)?;
            Ok(lost.into_iter().cloned().collect())
        })
    }

    fn close(&mut self) -> Result<()> {
        self.guarded(|consumer| {
            if consumer.connection.is_none() {
                consumer.connect()?;
            }
            consumer.held.clear();
            consumer.ready.clear();
            let own = consumer.own_tags()?;
            consumer.give_back(&own)?;
            let heartbeat = consumer.keys.heartbeat(&consumer.worker.worker_id);
            let (keys, [epoch, _, worker_id]) = (consumer.keys.clone(), consumer.identity());
            let connection = consumer.connection()?;
            let call = connection.script(&scripts::LEAVE)?.number(2).arg(heartbeat).arg(&keys.workers);
            connection.query(&call.arg(worker_id).arg(epoch).arg(keys.own())).map(drop)
        })
    }
}

/// Seconds in a reply, absent when empty.
fn seconds(value: Option<&Value>) -> Option<f64> {
    value.and_then(Value::as_str).and_then(|text| text.parse().ok())
}

fn microseconds_now() -> u64 {
    let since: Duration = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
