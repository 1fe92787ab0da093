//! Returning held messages to the front of their queues.

use std::collections::HashMap;

use super::{BATCH, RedisConsumer};
use crate::error::Result;
use crate::redis::record::{self, Returned};
use crate::redis::scripts;
use crate::redis::wire::{Command, Pipeline, Value};

/// When a message may be put back.
#[derive(Debug, Clone, Copy)]
pub(super) enum Condition<'a> {
    /// It is ours.
    Always,
    /// The worker that holds it has no heartbeat.
    Silent(&'a str),
    /// Nobody has vouched for it since this time, in seconds.
    Before(f64),
}

/// A held message and its way back; `None` for an index entry whose record is gone.
pub(super) type GivenBack = (String, Option<Returned>);

impl RedisConsumer {
    /// All tags this worker holds, whatever its epoch was, oldest first.
    pub(super) fn own_tags(&mut self) -> Result<Vec<String>> {
        let worker_id = self.worker.worker_id.clone();
        self.tags_of(&worker_id)
    }

    /// All tags a worker holds, oldest first.
    pub(super) fn tags_of(&mut self, worker_id: &str) -> Result<Vec<String>> {
        let pattern = format!("{}{}:*", record::TAG_PREFIX, glob_escaped(worker_id));
        let (mut tags, mut cursor) = (Vec::new(), "0".to_owned());
        loop {
            let scan = Command::new("ZSCAN").arg(&self.keys.unacked_index).arg(&cursor);
            let page = self.connection()?.query(&scan.arg("MATCH").arg(&pattern).arg("COUNT").arg("1000"))?;
            let mut page = page.into_elements().into_iter();
            cursor = page.next().and_then(|cursor| cursor.as_str().map(str::to_owned)).unwrap_or_default();
            let members = page.next().map(Value::into_elements).unwrap_or_default();
            // Members and scores in turn.
            let found = members.iter().step_by(2).filter_map(Value::as_str);
            tags.extend(found.filter_map(|tag| Some((age(tag, worker_id)?, tag.to_owned()))));
            if cursor.is_empty() || cursor == "0" {
                break;
            }
        }
        tags.sort();
        tags.dedup();
        Ok(tags.into_iter().map(|(_, tag)| tag).collect())
    }

    /// Puts messages of our own back, not counted as failed.
    pub(super) fn give_back(&mut self, tags: &[String]) -> Result<usize> {
        self.give_back_own(tags, false, Condition::Always)
    }

    /// Puts messages with tags of Umbel workers back, so that they are next in line in their old order.
    pub(super) fn give_back_own(&mut self, tags: &[String], failed: bool, condition: Condition<'_>) -> Result<usize> {
        let mut count = 0;
        // Each push to the front comes before the last, so the newest goes first.
        let newest_first: Vec<&str> = tags.iter().rev().map(String::as_str).collect();
        for page in newest_first.chunks(BATCH) {
            let records = self.records_of(page.iter().copied())?;
            let (keys, limits) = (self.keys.clone(), self.options.limits);
            let given: Vec<GivenBack> = page
                .iter()
                .zip(records)
                .filter_map(|(tag, record)| match record {
                    None => Some(((*tag).to_owned(), None)),
                    Some(record) => {
                        let (envelope, queue) = record::split_own(&record)?;
                        let returned = record::returned(envelope, &queue, failed, &keys, &limits);
                        Some(((*tag).to_owned(), Some(returned)))
                    }
                })
                .collect();
            count += self.run_give_back(&given, condition)?;
        }
        Ok(count)
    }

    /// One script call.
    pub(super) fn run_give_back(&mut self, given: &[GivenBack], condition: Condition<'_>) -> Result<usize> {
        let keys = self.keys.clone();
        let mut places: HashMap<&str, usize> = HashMap::new();
        let (mut lists, mut moves) = (Vec::new(), Command::default());
        for (tag, returned) in given {
            moves.push(tag);
            match returned {
                None => moves = moves.arg("").arg(""),
                Some(Returned { list, envelope }) => {
                    let place = *places.entry(list).or_insert_with(|| {
                        lists.push(keys.list(list));
                        lists.len() + 3
                    });
                    moves = moves.number(place).arg(envelope);
                }
            }
        }
        let (word, limit, heartbeat) = match condition {
            Condition::Always => ("always", String::new(), keys.heartbeat("")),
            Condition::Silent(worker_id) => ("silent", String::new(), keys.heartbeat(worker_id)),
            Condition::Before(time) => ("before", format!("{time:.6}"), keys.heartbeat("")),
        };
        let connection = self.connection()?;
        let call = connection.script(&scripts::GIVE_BACK)?.number(lists.len() + 3);
        let call = call.args([&keys.unacked, &keys.unacked_index, &heartbeat]).args(&lists);
        let call = call.arg(word).arg(limit).append(&moves);
        let mut count = 0;
        for reply in connection.run(&Pipeline::of(&call))? {
            let moved = connection.accept(reply)?.as_int();
            count += moved.and_then(|moved| usize::try_from(moved).ok()).unwrap_or(0);
        }
        Ok(count)
    }
}

/// Epoch and number of a tag of `worker_id`: later ones are greater.
fn age(tag: &str, worker_id: &str) -> Option<(u64, u64)> {
    let numbers = tag.strip_prefix(record::TAG_PREFIX)?.strip_prefix(worker_id)?.strip_prefix(':')?;
    let (epoch, number) = numbers.split_once(':')?;
    Some((epoch.parse().ok()?, number.parse().ok()?))
}

/// `text` with the characters that mean something in a pattern escaped.
fn glob_escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_of_a_worker_are_told_from_those_of_another() {
        assert_eq!(age("umbel:w:12:3", "w"), Some((12, 3)));
        assert_eq!(age("umbel:w:x:12:3", "w"), None);
        assert_eq!(age("umbel:w:x:12:3", "w:x"), Some((12, 3)));
        assert_eq!(age("0b0e9d1c-8d3c", "w"), None);
        assert_eq!(glob_escaped("a*[b]\\"), "a\\*\\[b\\]\\\\");
    }
}
