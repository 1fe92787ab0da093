//! Settling: each delivery's end with its results and follow-up messages as one step of a script.

use std::collections::HashMap;
use std::sync::Arc;

use umbel_protocol::{ResultWrite, Timestamp};
use uuid::Uuid;

use super::fetching::Due;
use super::{BATCH, RedisConsumer, chords, slots};
use crate::broker::{Disposition, Exchanged, Outgoing, Settlement, Tag};
use crate::clock::{Clock, SystemClock};
use crate::error::{BrokerError, Result};
use crate::redis::options::ResultLayout;
use crate::redis::publisher::{encode, in_line};
use crate::redis::wire::{Command, Pipeline, Value};
use crate::redis::{known, record, scripts};

/// Bytes of one script call, beyond which the next settlement goes into another.
const CALL_BYTES: usize = 1024 * 1024;

/// Stands for an empty tag, which to the script means none.
const NOBODYS_TAG: &str = record::TAG_PREFIX;

/// Keys that `settle.lua` has in fixed places.
const FIXED_KEYS: usize = 6;

/// One script call under construction.
#[derive(Default)]
pub(super) struct Call {
    results: Vec<String>,
    lists: Vec<String>,
    tags: Command,
    /// What the settlements are beyond acknowledgements.
    details: Command,
    /// Which settlements it ends, as indexes into the batch.
    members: Vec<usize>,
    /// How many of them, the first ones, are acknowledgements and nothing else.
    simple: usize,
    /// How many results and messages it writes.
    weight: usize,
}

impl Call {
    fn is_full(&self) -> bool {
        self.members.len() >= BATCH || self.weight >= 4 * BATCH || self.details.len() > CALL_BYTES
    }

    /// Size of its arguments in bytes.
    pub(super) fn len(&self) -> usize {
        self.tags.len() + self.details.len()
    }

    /// The number of a list.
    pub(super) fn list(&mut self, key: String) -> usize {
        let known = self.lists.iter().position(|list| *list == key);
        known.map_or_else(|| numbered(&mut self.lists, key), |place| place + 1)
    }

    pub(super) fn push(&mut self, argument: impl AsRef<[u8]>) {
        self.details.push(argument);
    }
}

/// Adds a key and tells its number, from 1.
fn numbered(keys: &mut Vec<String>, key: String) -> usize {
    keys.push(key);
    keys.len()
}

/// What became of the tags of one call.
#[derive(Default)]
struct Ended {
    done: Vec<Arc<str>>,
    lost: Vec<Tag>,
    entered: Vec<Tag>,
}

/// What is known before the scripts run: records of messages that move, stored results that must be judged.
#[derive(Default)]
pub(super) struct Known {
    pub(super) records: HashMap<Arc<str>, Vec<u8>>,
    results: HashMap<String, Vec<u8>>,
    /// The scripts have asked for more than they were given at first.
    pub(super) asked: bool,
}

impl RedisConsumer {
    /// [`crate::Consumer::exchange`].
    pub(super) fn settle_and_fetch(&mut self, settlements: &[Settlement], want: usize) -> Result<Exchanged> {
        self.connection()?;
        self.check(settlements)?;
        let moving = settlements.iter().filter(|settlement| moves(settlement));
        let mut known = Known { records: self.read_records(moving)?, ..Known::default() };
        let missing = want.saturating_sub(self.ready.len());
        let mut ended = Ended::default();
        let outcome = self.round(settlements, &mut known, missing, &mut ended);
        if outcome.is_err() {
            // The caller repeats the call: what it settled is not lost then.
            self.settled.extend(ended.done);
        }
        let due = outcome?;
        self.settled.clear();
        self.note_delays(settlements);
        if due.is_now() {
            self.take_due(due.now, want)?;
        }
        let deliveries = self.ready.drain(..want.min(self.ready.len())).collect();
        Ok(Exchanged { deliveries, lost: ended.lost, entered: ended.entered, next_due: self.next_due })
    }

    /// Moves due messages to their queues and fetches what is still wanted. What was settled is settled: only a broken
    /// connection is an error, the rest waits for the next call.
    fn take_due(&mut self, now: f64, want: usize) -> Result<()> {
        match self.release_due(now).and_then(|()| self.fetch_more(want)) {
            Err(error) if !matches!(error, BrokerError::Connection { .. }) => {
                log::warn!("due messages stay where they are for now: {error}");
                Ok(())
            }
            outcome => outcome,
        }
    }

    fn check(&mut self, settlements: &[Settlement]) -> Result<()> {
        if !self.worker.stores_results && settlements.iter().any(Settlement::needs_results) {
            return Err(BrokerError::results_not_stored());
        }
        let follow_ups = settlements.iter().flat_map(|settlement| &settlement.publish);
        match &mut self.connection {
            Some(connection) => self.router.prepare(connection, follow_ups.map(|outgoing| &outgoing.destination)),
            None => Ok(()),
        }
    }

    /// The unacked records of messages.
    fn read_records<'a>(&mut self, moving: impl Iterator<Item = &'a Settlement>) -> Result<HashMap<Arc<str>, Vec<u8>>> {
        let tags: Vec<Arc<str>> = moving.filter_map(|settlement| Some(settlement.tag.as_ref()?.0.clone())).collect();
        let records = self.records_of(tags.iter().map(|tag| &**tag))?;
        Ok(tags.into_iter().zip(records).filter_map(|(tag, record)| Some((tag, record?))).collect())
    }

    /// Unacked records by tag, in pages.
    pub(super) fn records_of<'a>(&mut self, tags: impl Iterator<Item = &'a str>) -> Result<Vec<Option<Vec<u8>>>> {
        let tags: Vec<&str> = tags.collect();
        let mut found = Vec::with_capacity(tags.len());
        for page in tags.chunks(BATCH) {
            let call = Command::new("HMGET").arg(&self.keys.unacked).args(page);
            let records = self.connection()?.query(&call)?.into_elements();
            found.extend(records.into_iter().map(|record| match record {
                Value::Data(record) => Some(record),
                _ => None,
            }));
        }
        Ok(found)
    }

    /// Settles all and fetches: one round trip, and another for each time a stored result must be read first.
    fn round(
        &mut self,
        settlements: &[Settlement],
        known: &mut Known,
        mut want: usize,
        ended: &mut Ended,
    ) -> Result<Due> {
        let mut open: Vec<usize> = (0..settlements.len()).collect();
        let mut due = Due::default();
        loop {
            let calls = self.settle_calls(settlements, &open, known)?;
            let first = self.sequence;
            let fetches = self.fetch_calls(want)?;
            let mut pipeline = Pipeline::default();
            for call in &calls {
                pipeline.add(&self.finish_call(call)?);
            }
            fetches.iter().for_each(|fetch| pipeline.add(fetch));
            if let Some(look) = self.ear.look_along().filter(|_| !fetches.is_empty()) {
                pipeline.extend(look);
            }
            let mut replies = if pipeline.is_empty() { Vec::new() } else { self.connection()?.run(&pipeline)? };
            let mut fetched = replies.split_off(calls.len());
            let looked = fetched.split_off(fetches.len());
            let outcome = self.settled(settlements, &calls, replies, ended);
            if !fetched.is_empty() {
                due = self.fetched(fetched, first)?;
                self.looked_along(looked)?;
            }
            open = outcome?;
            if open.is_empty() {
                return Ok(due);
            }
            want = 0;
            known.asked = true;
            let entering = open.iter().map(|index| &settlements[*index]);
            let entering = entering.filter(|settlement| matches!(settlement.disposition, Disposition::Enter(_)));
            known.records.extend(self.read_records(entering)?);
            self.read_results(settlements, &open, known)?;
        }
    }

    fn fetch_more(&mut self, want: usize) -> Result<()> {
        let missing = want.saturating_sub(self.ready.len());
        let first = self.sequence;
        let mut pipeline = Pipeline::default();
        for call in self.fetch_calls(missing)? {
            pipeline.add(&call);
        }
        if pipeline.is_empty() {
            return Ok(());
        }
        let replies = self.connection()?.run(&pipeline)?;
        self.fetched(replies, first).map(drop)
    }

    pub(super) fn settle_calls(
        &mut self,
        settlements: &[Settlement],
        open: &[usize],
        known: &Known,
    ) -> Result<Vec<Call>> {
        let now = SystemClock.now();
        let mut calls: Vec<Call> = Vec::new();
        for &index in open {
            if calls.last().is_none_or(Call::is_full) {
                calls.push(Call::default());
            }
            let Some(call) = calls.last_mut() else { continue };
            self.write_settlement(call, &settlements[index], known, now)?;
            call.members.push(index);
        }
        Ok(calls)
    }

    fn finish_call(&mut self, call: &Call) -> Result<Command> {
        let keys = self.keys.clone();
        let (result_db, own_db) = match self.options.results.db {
            Some(db) if db != self.options.db => (db.to_string(), self.options.db.to_string()),
            _ => (String::new(), String::new()),
        };
        let script = self.connection()?.script(&scripts::SETTLE)?;
        let script = script.number(FIXED_KEYS + call.results.len() + call.lists.len());
        let script = script.args([&keys.unacked, &keys.unacked_index, &keys.delayed, &keys.delayed_messages]);
        let script = script.args([&keys.dead, &keys.dead_messages]).args(&call.results).args(&call.lists);
        let script = script.arg(result_db).arg(own_db).number(call.results.len());
        let script = script.number(call.members.len()).number(call.simple);
        Ok(script.append(&call.tags).append(&call.details))
    }

    fn write_settlement(&self, call: &mut Call, settlement: &Settlement, known: &Known, now: Timestamp) -> Result<()> {
        call.tags.push(settlement.tag.as_ref().map_or("", |tag| if tag.0.is_empty() { NOBODYS_TAG } else { &tag.0 }));
        if call.simple == call.members.len() && is_simple(settlement) {
            call.simple += 1;
            return Ok(());
        }
        self.write_disposition(call, settlement, known);
        call.push(settlement.results.len().to_string());
        for result in &settlement.results {
            write_result(call, result, &self.options.results, &known.results);
        }
        let mut routed = Vec::with_capacity(settlement.publish.len());
        for outgoing in &settlement.publish {
            routed.push((outgoing, self.router.queues(&outgoing.destination)?));
        }
        let entries = routed.iter().map(|(outgoing, queues)| chords::entries(outgoing, queues.len()));
        call.push((entries.sum::<usize>() + settlement.gives_up.len()).to_string());
        for (outgoing, queues) in routed {
            if self.write_chord_step(call, outgoing, &queues, !known.asked) {
                continue;
            }
            for queue in queues {
                self.write_follow_up(call, &queue, outgoing, now);
            }
        }
        settlement
            .gives_up
            .iter()
            .for_each(|given| slots::write_given_up(call, given, &self.keys, &self.worker.worker_id));
        call.weight += settlement.results.len() + settlement.publish.len() + settlement.gives_up.len();
        Ok(())
    }

    fn write_disposition(&self, call: &mut Call, settlement: &Settlement, known: &Known) {
        let record = settlement.tag.as_ref().and_then(|tag| known.records.get(&tag.0));
        if let Disposition::Enter(wanted) = &settlement.disposition {
            return self.write_wish(call, wanted, record, known);
        }
        // Without a record the tag is not held, and the script says so whatever is asked.
        let Some((envelope, queue)) = record.and_then(|record| record::split_own(record)) else {
            return call.push("ack");
        };
        let (keys, limits) = (&self.keys, &self.options.limits);
        match &settlement.disposition {
            Disposition::Ack => call.push("ack"),
            Disposition::Requeue { front, failed } => {
                let returned = record::returned(envelope, &queue, *failed, keys, limits);
                let number = call.list(keys.list(&returned.list));
                call.push(if *front { "front" } else { "back" });
                call.push(number.to_string());
                call.push(returned.envelope);
            }
            Disposition::Delay { until } => {
                write_delay(call, &record::list_name(envelope, &queue, keys, limits), *until, envelope);
            }
            Disposition::Dead(reason) => {
                call.push("dead");
                call.push(Uuid::new_v4().to_string());
                call.push(record::dead_record(&queue, reason, envelope));
            }
            // Written above.
            Disposition::Enter(_) => call.push("ack"),
        }
    }

    fn write_follow_up(&self, call: &mut Call, queue: &str, outgoing: &Outgoing, now: Timestamp) {
        let list = self.keys.list_name(queue, outgoing.message.properties.priority);
        let envelope = encode(outgoing);
        match outgoing.eta {
            Some(until) if until > now => write_delay(call, &list, until, &envelope),
            eta => {
                let number = call.list(self.keys.list(&list));
                let line = outgoing.line.as_ref().filter(|_| eta.is_none());
                call.push(if line.is_some() { "line" } else { "list" });
                call.push(number.to_string());
                if let Some(line) = line {
                    in_line(&self.keys, queue, line, &list, now).iter().for_each(|argument| call.push(argument));
                }
                call.push(envelope);
            }
        }
    }

    /// Takes the replies in; returns the settlements that must be asked again.
    fn settled(
        &mut self,
        settlements: &[Settlement],
        calls: &[Call],
        replies: Vec<Value>,
        ended: &mut Ended,
    ) -> Result<Vec<usize>> {
        let (mut ask, mut failure) = (Vec::new(), None);
        for (call, reply) in calls.iter().zip(replies) {
            let outcomes = match self.connection()?.accept(reply) {
                Ok(value) => value.into_elements(),
                Err(error) => {
                    failure = failure.or(Some(error));
                    continue;
                }
            };
            for (&index, outcome) in call.members.iter().zip(outcomes) {
                let outcome = match self.connection()?.accept(outcome) {
                    Ok(outcome) => outcome.as_int(),
                    Err(error) => {
                        failure = failure.or(Some(error));
                        continue;
                    }
                };
                match (outcome, &settlements[index].tag) {
                    (None, _) => ask.push(index),
                    (Some(2), Some(tag)) => ended.entered.push(tag.clone()),
                    (Some(0), Some(tag)) => {
                        self.held.remove(&tag.0);
                        if !self.settled.contains(&tag.0) {
                            ended.lost.push(tag.clone());
                        }
                    }
                    (Some(_), Some(tag)) => {
                        self.held.remove(&tag.0);
                        ended.done.push(tag.0.clone());
                    }
                    (Some(_), None) => {}
                }
            }
        }
        failure.map_or(Ok(ask), Err)
    }

    /// Reads the stored results that the script could not judge.
    fn read_results(&mut self, settlements: &[Settlement], open: &[usize], known: &mut Known) -> Result<()> {
        let results = open.iter().flat_map(|index| &settlements[*index].results);
        let keys: Vec<String> = results.map(|result| result_key(&self.options.results, &result.task_id)).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let other_db = self.options.results.db.filter(|db| *db != self.options.db);
        let mut pipeline = Pipeline::default();
        if let Some(db) = other_db {
            pipeline.add(&Command::new("SELECT").number(db));
        }
        pipeline.add(&Command::new("MGET").args(&keys));
        if other_db.is_some() {
            pipeline.add(&Command::new("SELECT").number(self.options.db));
        }
        let mut records = Vec::new();
        for reply in self.connection()?.run(&pipeline)? {
            if let value @ Value::Array(_) = self.connection()?.accept(reply)? {
                records = value.into_elements();
            }
        }
        let limits = self.options.limits;
        for (key, record) in keys.into_iter().zip(records) {
            if let Value::Data(record) = record {
                known.results.insert(key, known::judgement(&record, &limits));
            }
        }
        Ok(())
    }

    /// Remembers when to look again for what was just delayed, where no fetch has told.
    fn note_delays(&mut self, settlements: &[Settlement]) {
        let follow_ups = settlements.iter().flat_map(|settlement| &settlement.publish);
        let moved = settlements.iter().filter_map(|settlement| match settlement.disposition {
            Disposition::Delay { until } => Some(until),
            _ => None,
        });
        let earliest = moved.chain(follow_ups.filter_map(|outgoing| outgoing.eta)).min();
        self.next_due = [self.next_due, earliest].into_iter().flatten().min();
    }
}

fn is_simple(settlement: &Settlement) -> bool {
    settlement.disposition == Disposition::Ack
        && settlement.publish.is_empty()
        && settlement.results.is_empty()
        && settlement.gives_up.is_empty()
}

/// Whether its message goes somewhere, so that its record is needed. One that is to enter does so only if it cannot.
fn moves(settlement: &Settlement) -> bool {
    !matches!(settlement.disposition, Disposition::Ack | Disposition::Enter(_))
}

fn write_delay(call: &mut Call, list: &str, until: Timestamp, envelope: &[u8]) {
    call.push("delay");
    call.push(format!("{:.6}", until.as_seconds()));
    call.push(record::delayed_id(list));
    call.push(envelope);
}

fn write_result(call: &mut Call, result: &ResultWrite, layout: &ResultLayout, known: &HashMap<String, Vec<u8>>) {
    let key = result_key(layout, &result.task_id);
    let judged = known.get(&key).cloned().unwrap_or_default();
    let number = numbered(&mut call.results, key);
    call.push(number.to_string());
    call.push(result.expires.map_or_else(String::new, known::milliseconds));
    call.push(judged);
    call.push(&result.record);
}

fn result_key(layout: &ResultLayout, task_id: &str) -> String {
    known::result_key(&layout.prefix, task_id)
}
