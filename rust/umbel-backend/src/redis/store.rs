//! Reading and writing records: one script call writes and announces up to 64 of them.

use std::sync::Arc;
use std::time::Duration;

use umbel_broker::redis::wire::{Command, Connection, Pipeline, Protocol, Value};
use umbel_broker::redis::{
    COUNT, Link, PARTS, RedisOptions, STORE, chord_key, flag, judgement, milliseconds, result_key,
};
use umbel_broker::{BrokerError, Result};
use umbel_protocol::{ChordPart, ResultWrite};

use crate::backend::ResultStore;

/// Records of one script call: the server serves nobody else meanwhile.
const BATCH: usize = 64;
/// Keys of one `MGET` or `DEL`.
const KEYS: usize = 512;
/// Life of what parts of a chord do not renew.
const LEAST_LIFE: Duration = Duration::from_secs(86_400);
/// How often a record may change under our eyes before we give up.
const ATTEMPTS: usize = 16;

/// A connection to read and write on; a broken one is replaced at the next call.
pub(super) struct RedisStore {
    link: Link,
    options: Arc<RedisOptions>,
    prefix: String,
}

/// A record to write, and what is known of the one that is there.
struct Pending<'a> {
    write: &'a ResultWrite,
    key: String,
    known: Vec<u8>,
}

impl RedisStore {
    pub(super) fn open(options: Arc<RedisOptions>, prefix: String) -> Result<Self> {
        Ok(Self { link: Link::open(options.clone(), Protocol::Resp2)?, options, prefix })
    }

    fn keys(&self, task_ids: &[String]) -> Vec<String> {
        task_ids.iter().map(|task_id| result_key(&self.prefix, task_id)).collect()
    }

    fn run(&mut self, pipeline: &Pipeline) -> Result<()> {
        let connection = self.link.connection()?;
        for reply in connection.run(pipeline)? {
            connection.accept(reply)?;
        }
        Ok(())
    }

    /// Looks at the stored records that the script could not judge.
    fn judge(&mut self, pending: &mut [Pending<'_>]) -> Result<()> {
        let call = Command::new("MGET").args(pending.iter().map(|one| &one.key));
        let records = self.link.connection()?.query(&call)?.into_elements();
        for (one, record) in pending.iter_mut().zip(records) {
            one.known = record.as_bytes().map(|record| judgement(record, &self.options.limits)).unwrap_or_default();
        }
        Ok(())
    }
}

impl ResultStore for RedisStore {
    fn write(&mut self, batch: &[ResultWrite]) -> Result<()> {
        let all = batch.iter().map(|write| {
            let key = result_key(&self.prefix, &write.task_id);
            Pending { write, key, known: Vec::new() }
        });
        let mut pending: Vec<Pending<'_>> = all.collect();
        for _ in 0..ATTEMPTS {
            pending = write_once(self.link.connection()?, pending)?;
            if pending.is_empty() {
                return Ok(());
            }
            self.judge(&mut pending)?;
        }
        let detail = format!("records keep changing while they are read, {:?} among them", pending[0].key);
        Err(BrokerError::Unavailable { url: self.options.display.to_string(), detail })
    }

    fn read(&mut self, task_ids: &[String]) -> Result<Vec<Option<Vec<u8>>>> {
        let mut found = Vec::with_capacity(task_ids.len());
        for page in task_ids.chunks(KEYS) {
            let call = Command::new("MGET").args(self.keys(page));
            let records = self.link.connection()?.query(&call)?.into_elements();
            found.extend(records.into_iter().map(|record| match record {
                Value::Data(record) => Some(record),
                _ => None,
            }));
        }
        Ok(found)
    }

    fn forget(&mut self, task_ids: &[String]) -> Result<u64> {
        let mut count = 0;
        for page in task_ids.chunks(KEYS) {
            let call = Command::new("DEL").args(self.keys(page));
            let removed = self.link.connection()?.query(&call)?.as_int();
            count += removed.and_then(|removed| u64::try_from(removed).ok()).unwrap_or(0);
        }
        Ok(count)
    }

    fn start_chord(&mut self, group: &str, size: u64, life: Option<Duration>) -> Result<()> {
        let key = chord_key(&self.prefix, group);
        let mut pipeline = Pipeline::default();
        pipeline.add(&Command::new("DEL").args([".c", ".d", ".j", ".t"].map(|suffix| format!("{key}{suffix}"))));
        let set = Command::new("SET").arg(format!("{key}.s")).number(size);
        pipeline.add(&match life {
            Some(life) => set.arg("PX").arg(milliseconds(life)),
            None => set,
        });
        self.run(&pipeline)
    }

    fn extend_chord(&mut self, group: &str) -> Result<()> {
        let key = format!("{}.t", chord_key(&self.prefix, group));
        let mut pipeline = Pipeline::default();
        pipeline.add(&Command::new("INCR").arg(&key));
        pipeline.add(&Command::new("EXPIRE").arg(&key).number(LEAST_LIFE.as_secs()));
        self.run(&pipeline)
    }

    fn count_part(&mut self, part: &ChordPart) -> Result<Option<String>> {
        let connection = self.link.connection()?;
        let call = connection.script(&COUNT)?.number(1).arg(chord_key(&self.prefix, &part.group));
        let call = call.arg(&part.task_id).arg(part.score()).arg(&part.part);
        let call = call.arg(part.expires.map_or_else(String::new, milliseconds));
        let call = call.arg(flag(self.options.results.unordered_chords));
        let members = connection.query(&call)?;
        Ok(members.as_bytes().map(|members| String::from_utf8_lossy(members).into_owned()))
    }

    fn chord_parts(&mut self, group: &str) -> Result<Vec<Vec<u8>>> {
        let connection = self.link.connection()?;
        let call = connection.script(&PARTS)?.number(1).arg(chord_key(&self.prefix, group));
        let parts = connection.query(&call)?.into_elements();
        Ok(parts.into_iter().filter_map(|part| part.as_bytes().map(<[u8]>::to_vec)).collect())
    }

    fn end_chord(&mut self, group: &str) -> Result<()> {
        let key = chord_key(&self.prefix, group);
        let mut pipeline = Pipeline::default();
        pipeline.add(&Command::new("DEL").args([".d", ".j", ".s", ".t"].map(|suffix| format!("{key}{suffix}"))));
        let done = Command::new("SET").arg(format!("{key}.c")).arg("done");
        pipeline.add(&done.arg("EX").number(LEAST_LIFE.as_secs()));
        self.run(&pipeline)
    }

    /// Redis removes them by itself.
    fn remove_expired(&mut self) -> Result<u64> {
        Ok(0)
    }
}

/// Writes in one round trip; returns those whose stored record must be looked at first.
fn write_once<'a>(connection: &mut Connection, pending: Vec<Pending<'a>>) -> Result<Vec<Pending<'a>>> {
    let mut pipeline = Pipeline::default();
    for page in pending.chunks(BATCH) {
        let mut call = connection.script(&STORE)?.number(page.len()).args(page.iter().map(|one| &one.key));
        for one in page {
            call.push(one.write.expires.map_or_else(String::new, milliseconds));
            call.push(&one.known);
            call.push(&one.write.record);
        }
        pipeline.add(&call);
    }
    if pipeline.is_empty() {
        return Ok(Vec::new());
    }
    let mut outcomes = Vec::with_capacity(pending.len());
    for reply in connection.run(&pipeline)? {
        outcomes.extend(connection.accept(reply)?.into_elements());
    }
    let open = pending.into_iter().zip(outcomes).filter(|(_, outcome)| outcome.as_int() == Some(2));
    Ok(open.map(|(one, _)| one).collect())
}
