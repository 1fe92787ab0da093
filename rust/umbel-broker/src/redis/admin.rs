//! For people: counting, purging, dead letters.

use std::collections::HashMap;
use std::sync::Arc;

use umbel_protocol::Timestamp;

use super::keys::Keys;
use super::link::Link;
use super::options::RedisOptions;
use super::wire::{Command, Connection, Pipeline, Protocol, Value};
use super::{advice, culprit, record, scripts};
use crate::broker::{Admin, DeadLetter, Waiting};
use crate::error::Result;

/// Dead letters moved or removed in one step.
const PAGE: usize = 64;

/// A connection for people.
pub(super) struct RedisAdmin {
    link: Link,
    options: Arc<RedisOptions>,
    keys: Arc<Keys>,
}

impl RedisAdmin {
    pub(super) fn open(options: Arc<RedisOptions>, keys: Arc<Keys>) -> Result<Self> {
        Ok(Self { link: Link::open(options.clone(), Protocol::Resp2)?, options, keys })
    }

    /// Dead letters by id; those that are gone, or that another version wrote, are left out.
    fn letters(&mut self, ids: &[(String, f64)]) -> Result<Vec<DeadLetter>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let call = Command::new("HMGET").arg(&self.keys.dead_messages).args(ids.iter().map(|(id, _)| id));
        let records = self.link.connection()?.query(&call)?.into_elements();
        let limits = self.options.limits;
        let found = ids
            .iter()
            .zip(records)
            .filter_map(|((id, score), record)| record::dead_letter(id.clone(), *score, record.as_bytes()?, &limits));
        Ok(found.collect())
    }

    /// Delayed messages on their way to one of `lists`.
    fn delayed(&mut self, lists: &[String], limit: usize) -> Result<Vec<Waiting>> {
        let range = Command::new("ZRANGE").arg(&self.keys.delayed).number(0).number(-1).arg("WITHSCORES");
        let all = self.link.connection()?.query(&range)?.into_elements();
        let ids: Vec<(&str, f64)> = all
            .chunks_exact(2)
            .filter_map(|pair| Some((pair[0].as_str()?, pair[1].as_str()?.parse().ok()?)))
            .filter(|(id, _)| record::delayed_list(id).is_some_and(|list| lists.contains(&self.keys.list(list))))
            .take(limit)
            .collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let call = Command::new("HMGET").arg(&self.keys.delayed_messages).args(ids.iter().map(|(id, _)| id));
        let records = self.link.connection()?.query(&call)?.into_elements();
        let limits = self.options.limits;
        let found = ids.iter().zip(records).filter_map(|((_, score), record)| {
            let payload = record::payload(record.as_bytes()?.to_vec(), &limits);
            Some(Waiting { payload, due: Some(Timestamp::from_seconds(*score)) })
        });
        Ok(found.collect())
    }

    fn replay_page(&mut self, ids: &[String]) -> Result<u64> {
        let connection = self.link.connection()?;
        let call = Command::new("HMGET").arg(&self.keys.dead_messages).args(ids);
        let records = connection.query(&call)?.into_elements();
        let mut lists: HashMap<String, usize> = HashMap::new();
        let (mut order, mut moves) = (Vec::new(), Command::default());
        for (id, record) in ids.iter().zip(&records) {
            let parts = record.as_bytes().and_then(|record| record::split_dead(record, &self.options.limits));
            let Some((queue, _, raw)) = parts else { continue };
            let returned = record::replayed(raw, &queue, &self.keys, &self.options.limits);
            let place = *lists.entry(self.keys.list(&returned.list)).or_insert_with_key(|list| {
                order.push(list.clone());
                order.len() + 2
            });
            moves = moves.arg(id).number(place).arg(returned.envelope);
        }
        if order.is_empty() {
            return Ok(0);
        }
        let call = connection.script(&scripts::REPLAY)?.number(order.len() + 2);
        let call = call.args([&self.keys.dead, &self.keys.dead_messages]).args(&order).append(&moves);
        sum(connection, &Pipeline::of(&call))
    }
}

impl Admin for RedisAdmin {
    fn length(&mut self, queue: &str) -> Result<u64> {
        let (keys, mut pipeline) = (&self.keys, Pipeline::default());
        keys.lists(queue).iter().for_each(|list| pipeline.add(&Command::new("LLEN").arg(list)));
        let connection = self.link.connection()?;
        sum(connection, &pipeline).map_err(|error| culprit::name(connection, error, || keys.typed([queue].into_iter())))
    }

    fn peek(&mut self, queue: &str, limit: usize) -> Result<Vec<Waiting>> {
        let (limits, lists) = (self.options.limits, self.keys.lists(queue));
        let mut found = Vec::new();
        for list in &lists {
            let left = limit - found.len();
            if left == 0 {
                return Ok(found);
            }
            // The next one is at the end.
            let range = Command::new("LRANGE").arg(list).number(-i64::try_from(left).unwrap_or(i64::MAX)).number(-1);
            let page = self.link.connection()?.query(&range)?.into_elements();
            let raw = page.iter().rev().filter_map(Value::as_bytes);
            found.extend(raw.map(|raw| Waiting { payload: record::payload(raw.to_vec(), &limits), due: None }));
        }
        let delayed = self.delayed(&lists, limit - found.len())?;
        found.extend(delayed);
        Ok(found)
    }

    fn purge(&mut self, queue: &str) -> Result<u64> {
        let mut transaction = Pipeline::of(&Command::new("MULTI"));
        for list in self.keys.lists(queue) {
            transaction.add(&Command::new("LLEN").arg(&list));
            transaction.add(&Command::new("DEL").arg(&list));
        }
        transaction.add(&Command::new("EXEC"));
        let connection = self.link.connection()?;
        let mut outcome = Value::Nil;
        for reply in connection.run(&transaction)? {
            outcome = connection.accept(reply)?;
        }
        // Lengths and deletions in turn.
        let lengths = outcome.into_elements();
        Ok(lengths.iter().step_by(2).filter_map(Value::as_int).filter_map(|length| u64::try_from(length).ok()).sum())
    }

    fn dead_letters(&mut self, offset: usize, limit: usize) -> Result<Vec<DeadLetter>> {
        let Some(last) = limit.checked_sub(1) else { return Ok(Vec::new()) };
        let range = Command::new("ZRANGE").arg(&self.keys.dead).number(offset).number(offset.saturating_add(last));
        let page = self.link.connection()?.query(&range.arg("WITHSCORES"))?.into_elements();
        let ids: Vec<(String, f64)> = page
            .chunks_exact(2)
            .filter_map(|pair| Some((pair[0].as_str()?.to_owned(), pair[1].as_str()?.parse().ok()?)))
            .collect();
        self.letters(&ids)
    }

    fn dead_letter(&mut self, id: &str) -> Result<Option<DeadLetter>> {
        let score = self.link.connection()?.query(&Command::new("ZSCORE").arg(&self.keys.dead).arg(id))?;
        match score.as_str().and_then(|score| score.parse().ok()) {
            Some(score) => Ok(self.letters(&[(id.to_owned(), score)])?.pop()),
            None => Ok(None),
        }
    }

    fn dead_replay(&mut self, ids: &[String]) -> Result<u64> {
        ids.chunks(PAGE).map(|page| self.replay_page(page)).sum()
    }

    fn dead_purge(&mut self, ids: Option<&[String]>) -> Result<u64> {
        let keys = self.keys.clone();
        let connection = self.link.connection()?;
        let Some(ids) = ids else {
            let mut transaction = Pipeline::of(&Command::new("MULTI"));
            transaction.add(&Command::new("ZCARD").arg(&keys.dead));
            transaction.add(&Command::new("DEL").arg(&keys.dead).arg(&keys.dead_messages));
            transaction.add(&Command::new("EXEC"));
            let outcome = connection.run(&transaction)?.pop().unwrap_or(Value::Nil);
            let count = connection.accept(outcome)?.into_elements().first().and_then(Value::as_int);
            return Ok(count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0));
        };
        let mut count = 0;
        for page in ids.chunks(PAGE) {
            connection.query(&Command::new("HDEL").arg(&keys.dead_messages).args(page))?;
            count += sum(connection, &Pipeline::of(&Command::new("ZREM").arg(&keys.dead).args(page)))?;
        }
        Ok(count)
    }

    fn advice(&mut self) -> Result<Vec<String>> {
        let info = self.link.connection()?.query(&Command::new("INFO"))?;
        Ok(advice::of(info.as_str().unwrap_or_default()))
    }
}

/// The sum of number replies.
fn sum(connection: &mut Connection, pipeline: &Pipeline) -> Result<u64> {
    let mut total = 0;
    for reply in connection.run(pipeline)? {
        let number = connection.accept(reply)?.as_int();
        total += number.and_then(|number| u64::try_from(number).ok()).unwrap_or(0);
    }
    Ok(total)
}
