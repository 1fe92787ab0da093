//! Fetching: messages move from their lists to the unacked records in the server, in one step.

use umbel_protocol::Timestamp;

use super::{BATCH, RedisConsumer, seconds};
use crate::broker::{Delivery, Tag};
use crate::error::Result;
use crate::redis::record;
use crate::redis::scripts;
use crate::redis::wire::{Command, Pipeline, Value};

/// Pages of due messages that one call moves at most; the rest is due at the next.
const RELEASE_PAGES: usize = 16;

/// Length of a member from which a sorted set is a tree (`zset-max-listpack-value` and one).
const TREE_FROM: usize = 65;

/// What the server said about delayed messages while fetching.
#[derive(Default)]
pub(super) struct Due {
    pub(super) now: f64,
    pub(super) earliest: Option<f64>,
}

impl Due {
    pub(super) fn is_now(&self) -> bool {
        self.earliest.is_some_and(|earliest| earliest <= self.now)
    }
}

impl RedisConsumer {
    /// The calls that fetch `want` messages.
    pub(super) fn fetch_calls(&mut self, want: usize) -> Result<Vec<Command>> {
        let mut calls = Vec::with_capacity(want.div_ceil(BATCH));
        let mut left = if self.turn.queues().is_empty() { 0 } else { want };
        while left > 0 {
            let count = left.min(BATCH);
            let first = self.sequence;
            self.sequence += count as u64;
            left -= count;
            calls.push(self.fetch_call(count, first)?);
        }
        Ok(calls)
    }

    fn fetch_call(&mut self, count: usize, after: u64) -> Result<Command> {
        let tag_prefix = self.tag_prefix();
        let [epoch, lease, worker_id] = self.identity();
        let heartbeat = self.keys.heartbeat(&worker_id);
        let script = self.connection()?.script(&scripts::FETCH)?;
        let (keys, queues) = (&self.keys, self.turn.queues());
        let mut call = script.number(5 + queues.len() * keys.steps());
        call = call.args([&keys.unacked, &keys.unacked_index, &heartbeat, &keys.workers, &keys.delayed]);
        for step in 0..keys.steps() {
            call = call.args(queues.iter().map(|queue| &queue.lists[step]));
        }
        call = call.number(count).arg(tag_prefix).number(after).arg(epoch).arg(lease).arg(worker_id);
        Ok(call.number(queues.len()).args(queues.iter().map(|queue| &queue.tail)))
    }

    /// What tags begin with; eight digits follow. Zeros make them longer than 64 bytes: Redis then keeps the index as a
    /// tree from the start, and not, as long as there are few, as a list that it walks for every message (20 us each).
    fn tag_prefix(&self) -> String {
        let prefix = format!("{}{}:{}:", record::TAG_PREFIX, self.worker.worker_id, self.epoch);
        let zeros = (TREE_FROM - 8).saturating_sub(prefix.len());
        prefix + &"0".repeat(zeros)
    }

    /// Takes the replies to fetch calls in; `calls` made them. Everything that was moved is handed out, now or, when
    /// one of them failed, by the next call.
    pub(super) fn fetched(&mut self, replies: Vec<Value>, first: u64) -> Result<Due> {
        let (mut due, mut failure) = (Due::default(), None);
        let mut taken = vec![0; self.turn.queues().len()];
        let mut number = first;
        for reply in replies {
            let mut parts = match self.connection()?.accept(reply) {
                Ok(value) => value.into_elements().into_iter(),
                Err(error) => {
                    failure = failure.or(Some(error));
                    number += BATCH as u64;
                    continue;
                }
            };
            if parts.next().as_ref().and_then(Value::as_str) != Some("ok") {
                failure = failure.or(Some(self.fenced()));
                continue;
            }
            due.now = seconds(parts.next().as_ref()).unwrap_or_default();
            due.earliest = seconds(parts.next().as_ref());
            self.hand_out(parts, number, &mut taken);
            number += BATCH as u64;
        }
        self.turn.advance(&taken);
        self.next_due = due.earliest.map(Timestamp::from_seconds);
        failure.map_or(Ok(due), Err)
    }

    fn hand_out(&mut self, mut parts: impl Iterator<Item = Value>, mut number: u64, taken: &mut [usize]) {
        let tag_prefix = self.tag_prefix();
        while let (Some(place), Some(Value::Data(raw))) = (parts.next(), parts.next()) {
            number += 1;
            let place = place.as_int().and_then(|place| usize::try_from(place - 1).ok()).unwrap_or(0);
            let Some(queue) = self.turn.queues().get(place) else { continue };
            let tag = Tag(format!("{tag_prefix}{number:08}").into());
            let delivery =
                Delivery { tag, queue: queue.name.clone(), payload: record::payload(raw, &self.options.limits) };
            taken[place] += 1;
            self.held.insert(delivery.tag.0.clone());
            self.ready.push_back(delivery);
        }
    }

    /// Moves what is due at `now` to its queues.
    pub(super) fn release_due(&mut self, now: f64) -> Result<()> {
        let mut pages = 0;
        while pages < RELEASE_PAGES && self.next_due.is_some_and(|due| due.as_seconds() <= now) {
            pages += 1;
            self.release_page(now)?;
        }
        Ok(())
    }

    fn release_page(&mut self, now: f64) -> Result<()> {
        let keys = self.keys.clone();
        let page = Command::new("ZRANGEBYSCORE").arg(&keys.delayed).arg("-inf").number(now);
        let ids = self.connection()?.query(&page.arg("LIMIT").arg("0").number(BATCH))?.into_elements();
        let (mut lists, mut moves) = (Vec::<String>::new(), Command::default());
        for id in ids.iter().filter_map(Value::as_str) {
            // An id that tells no list is none of ours: its message goes where nothing else would find it.
            let list = keys.list(record::delayed_list(id).unwrap_or("celery"));
            let place = lists.iter().position(|known| *known == list).unwrap_or_else(|| {
                lists.push(list);
                lists.len() - 1
            });
            moves = moves.arg(id).number(place + 3);
        }
        let mut pipeline = Pipeline::default();
        if !lists.is_empty() {
            let call = self.connection()?.script(&scripts::RELEASE)?.number(lists.len() + 2);
            pipeline.add(&call.arg(&keys.delayed).arg(&keys.delayed_messages).args(&lists).append(&moves));
        }
        pipeline.add(&Command::new("ZRANGE").arg(&keys.delayed).arg("0").arg("0").arg("WITHSCORES"));
        let mut earliest = Vec::new();
        for reply in self.connection()?.run(&pipeline)? {
            earliest = self.connection()?.accept(reply)?.into_elements();
        }
        // Member and score; RESP3 puts a pair of them into an array of its own.
        let score = match earliest.pop() {
            Some(Value::Array(mut pair)) => pair.pop(),
            last => last,
        };
        self.next_due = seconds(score.as_ref()).map(Timestamp::from_seconds);
        Ok(())
    }
}
