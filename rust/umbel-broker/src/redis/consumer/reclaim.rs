//! Taking back what others hold: workers whose lease ran out, and messages nobody has vouched for in a long time.

use std::time::{Duration, Instant};

use umbel_protocol::{Destination, Limits};

use super::RedisConsumer;
use super::give_back::{Condition, GivenBack};
use crate::broker::DeadReason;
use crate::error::{BrokerError, Result};
use crate::redis::wire::{Command, Pipeline, Value};
use crate::redis::{record, scripts};

/// How often one worker looks for messages nobody vouches for.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// How many it takes on at a time.
const SWEEP_PAGE: usize = 100;

impl RedisConsumer {
    /// Returns the messages of a worker whose heartbeat is gone, counting a failed delivery for each.
    pub(super) fn reclaim(&mut self, worker_id: &str) -> Result<usize> {
        let heartbeat = self.keys.heartbeat(worker_id);
        if self.connection()?.query(&Command::new("EXISTS").arg(&heartbeat))? != Value::Int(0) {
            return Ok(0);
        }
        let tags = self.tags_of(worker_id)?;
        let count = self.give_back_own(&tags, true, Condition::Silent(worker_id))?;
        if count > 0 {
            log::warn!("worker {worker_id} fell silent: {count} of its messages are back in their queues");
        }
        let keys = self.keys.clone();
        let connection = self.connection()?;
        let call = connection.script(&scripts::LEAVE)?.number(2).arg(heartbeat).arg(&keys.workers);
        connection.query(&call.arg(worker_id).arg("").arg(keys.own()))?;
        Ok(count)
    }

    /// Returns messages nobody has vouched for within the visibility timeout: those of a Celery worker that died, as
    /// Celery's own workers do, and ours if the register of workers was lost.
    pub(super) fn sweep(&mut self, now: f64) -> Result<usize> {
        if self.swept.is_some_and(|at| at.elapsed() < SWEEP_EVERY.min(self.options.visibility_timeout)) {
            return Ok(0);
        }
        self.swept = Some(Instant::now());
        let limit = now - self.options.visibility_timeout.as_secs_f64();
        let page = Command::new("ZRANGEBYSCORE").arg(&self.keys.unacked_index).arg("-inf").arg(format!("{limit:.6}"));
        let tags = self.connection()?.query(&page.arg("LIMIT").arg("0").number(SWEEP_PAGE))?.into_elements();
        let tags: Vec<&str> = tags.iter().rev().filter_map(Value::as_str).collect();
        let records = self.records_of(tags.iter().copied())?;
        let mut given: Vec<GivenBack> = Vec::new();
        for (tag, record) in tags.into_iter().zip(records) {
            match record {
                None => given.push((tag.to_owned(), None)),
                Some(record) => given.extend(self.way_back(tag, &record)?),
            }
        }
        if given.is_empty() { Ok(0) } else { self.run_give_back(&given, Condition::Before(limit)) }
    }

    /// Where a message nobody vouches for goes; `None` when it was buried instead.
    fn way_back(&mut self, tag: &str, record: &[u8]) -> Result<Option<GivenBack>> {
        let limits = self.options.limits;
        let (envelope, queue) = match origin(tag, record, &limits) {
            Some(Origin::Queue(envelope, queue)) => (envelope, queue),
            Some(Origin::Exchange(envelope, destination)) => match self.queue_of(&destination)? {
                Some(queue) => (envelope, queue),
                None => return self.bury(tag, envelope, &destination).map(|()| None),
            },
            None => return self.bury(tag, record, &Destination::queue("unknown")).map(|()| None),
        };
        let returned = record::returned(envelope, &queue, false, &self.keys, &limits);
        Ok(Some((tag.to_owned(), Some(returned))))
    }

    fn queue_of(&mut self, destination: &Destination) -> Result<Option<String>> {
        let Some(connection) = &mut self.connection else { return Ok(None) };
        match self.router.prepare(connection, std::iter::once(destination)) {
            Ok(()) => Ok(self.router.queues(destination)?.into_iter().next()),
            Err(BrokerError::Unroutable { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Moves a record that leads to no queue to the dead letters; kombu would drop it.
    fn bury(&mut self, tag: &str, envelope: &[u8], destination: &Destination) -> Result<()> {
        let Destination { exchange, routing_key } = destination;
        let detail = format!("no queue is bound to exchange {exchange:?} with routing key {routing_key:?}");
        let reason = DeadReason { kind: "unroutable".to_owned(), detail };
        let (keys, record) = (self.keys.clone(), record::dead_record(routing_key, &reason, envelope));
        let id = uuid::Uuid::new_v4().to_string();
        let connection = self.connection()?;
        let call = connection.script(&scripts::SETTLE)?.number(6);
        let call = call.args([&keys.unacked, &keys.unacked_index, &keys.delayed, &keys.delayed_messages]);
        let call = call.args([&keys.dead, &keys.dead_messages]).arg("").arg("");
        let call = call.arg("0").arg("1").arg("0").arg(tag).arg("dead").arg(id).arg(record).arg("0").arg("0");
        for reply in connection.run(&Pipeline::of(&call))? {
            for outcome in connection.accept(reply)?.into_elements() {
                connection.accept(outcome)?;
            }
        }
        Ok(())
    }
}

enum Origin<'a> {
    Queue(&'a [u8], String),
    Exchange(&'a [u8], Destination),
}

/// What an unacked record says of where its message came from.
fn origin<'a>(tag: &str, record: &'a [u8], limits: &Limits) -> Option<Origin<'a>> {
    if tag.starts_with(record::TAG_PREFIX) {
        return record::split_own(record).map(|(envelope, queue)| Origin::Queue(envelope, queue));
    }
    let (envelope, exchange, routing_key) = record::split_foreign(record, limits)?;
    Some(match exchange.as_str() {
        "" => Origin::Queue(envelope.as_bytes(), routing_key),
        _ => Origin::Exchange(envelope.as_bytes(), Destination { exchange, routing_key }),
    })
}
