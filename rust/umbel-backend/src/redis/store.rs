//! Reading and writing records: one script call writes and announces up to 64 of them.

use std::sync::Arc;

use umbel_broker::redis::wire::{Command, Connection, Pipeline, Protocol, Value};
use umbel_broker::redis::{Link, RedisOptions, STORE, judgement, milliseconds, result_key};
use umbel_broker::{BrokerError, Result};
use umbel_protocol::ResultWrite;

use crate::backend::ResultStore;

/// Records of one script call: the server serves nobody else meanwhile.
const BATCH: usize = 64;
/// Keys of one `MGET` or `DEL`.
const KEYS: usize = 512;
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
