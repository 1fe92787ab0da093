//! Counting, purging and dead letters in a file.

use rusqlite::{OptionalExtension, Row, params};
use umbel_protocol::Timestamp;

use super::content;
use super::fault::Fault;
use super::places::Parcel;
use super::session::{Commit, Session, Step};
use crate::broker::{Admin, DeadLetter, DeadReason, Waiting};
use crate::error::Result;

/// Messages removed by one transaction, so that others are not kept waiting.
const AT_ONCE: usize = 2000;

pub(super) struct SqliteAdmin {
    session: Session,
}

impl SqliteAdmin {
    pub(super) fn new(session: Session) -> Self {
        Self { session }
    }
}

const LETTERS: &str = "SELECT dead.message, dead.queue, dead.step, dead.failed, dead.redelivered, dead.id, queues.name,
                              dead.kind, dead.detail, dead.at
                       FROM dead JOIN queues ON queues.id = dead.queue";

/// A dead letter without its payload.
fn letter(row: &Row<'_>) -> rusqlite::Result<(Parcel, DeadLetter)> {
    let letter = DeadLetter {
        id: row.get::<_, i64>(5)?.to_string(),
        queue: row.get(6)?,
        reason: DeadReason { kind: row.get(7)?, detail: row.get(8)? },
        at: Timestamp(row.get(9)?),
        payload: crate::broker::Payload::Message(Box::default()),
    };
    Ok((Parcel::from_row(row, 0)?, letter))
}

fn with_payload(connection: &rusqlite::Connection, found: (Parcel, DeadLetter)) -> Result<DeadLetter, Fault> {
    let (parcel, letter) = found;
    let payload = content::read(connection, parcel.message, parcel.failed, parcel.redelivered)?;
    Ok(DeadLetter { payload, ..letter })
}

impl Step<'_> {
    fn purge_some(&mut self, queue: &str) -> Result<usize, Fault> {
        let queue = self.queue_id(queue)?;
        let mut removed = 0;
        for priority in crate::queue::PRIORITY_STEPS {
            for parcel in self.take_ready(queue, priority, AT_ONCE - removed)? {
                content::delete(self.connection, parcel.message)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Takes a dead letter out of the store; its message stays.
    fn exhume(&mut self, id: i64) -> Result<Option<Parcel>, Fault> {
        let mut select = self
            .connection
            .prepare_cached("SELECT message, queue, step, failed, redelivered FROM dead WHERE id = ?1")?;
        let found = select.query_row([id], |row| Parcel::from_row(row, 0)).optional()?;
        if found.is_some() {
            self.connection.prepare_cached("DELETE FROM dead WHERE id = ?1")?.execute([id])?;
        }
        Ok(found)
    }

    fn forget_letters(&mut self, ids: &[i64]) -> Result<u64, Fault> {
        let mut forgotten = 0;
        for id in ids {
            if let Some(parcel) = self.exhume(*id)? {
                content::delete(self.connection, parcel.message)?;
                forgotten += 1;
            }
        }
        Ok(forgotten)
    }

    fn oldest_letters(&self, limit: usize) -> Result<Vec<i64>, Fault> {
        let mut select = self.connection.prepare_cached("SELECT id FROM dead ORDER BY id LIMIT ?1")?;
        let rows = select.query_map([limit as i64], |row| row.get(0))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

fn numbers(ids: &[String]) -> Vec<i64> {
    ids.iter().filter_map(|id| id.parse().ok()).collect()
}

impl Admin for SqliteAdmin {
    fn length(&mut self, queue: &str) -> Result<u64> {
        self.session.read(|connection| {
            let mut count = connection
                .prepare_cached("SELECT count(*) FROM ready WHERE queue = (SELECT id FROM queues WHERE name = ?1)")?;
            let count: i64 = count.query_row([queue], |row| row.get(0))?;
            Ok(count.unsigned_abs())
        })
    }

    fn peek(&mut self, queue: &str, limit: usize) -> Result<Vec<Waiting>> {
        self.session.read(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT message, queue, step, failed, redelivered, NULL AS due, step AS first, position AS second
                     FROM ready WHERE queue = (SELECT id FROM queues WHERE name = ?1)
                 UNION ALL
                 SELECT message, queue, step, failed, redelivered, due, 99, due
                     FROM delayed WHERE queue = (SELECT id FROM queues WHERE name = ?1)
                 ORDER BY first, second LIMIT ?2",
            )?;
            let rows = select.query_map(params![queue, limit as i64], |row| {
                Ok((Parcel::from_row(row, 0)?, row.get::<_, Option<i64>>(5)?.map(Timestamp)))
            })?;
            let found = rows.collect::<rusqlite::Result<Vec<_>>>()?;
            let read = |(parcel, due): (Parcel, Option<Timestamp>)| {
                let payload = content::read(connection, parcel.message, parcel.failed, parcel.redelivered)?;
                Ok(Waiting { payload, due })
            };
            found.into_iter().map(read).collect()
        })
    }

    fn purge(&mut self, queue: &str) -> Result<u64> {
        let mut removed = 0;
        loop {
            let some = self.session.write(Commit::Durable, |step| step.purge_some(queue))?;
            removed += some as u64;
            if some < AT_ONCE {
                return Ok(removed);
            }
        }
    }

    fn dead_letters(&mut self, offset: usize, limit: usize) -> Result<Vec<DeadLetter>> {
        self.session.read(|connection| {
            let mut select = connection.prepare_cached(&format!("{LETTERS} ORDER BY dead.id LIMIT ?1 OFFSET ?2"))?;
            let rows = select.query_map(params![limit as i64, offset as i64], letter)?;
            let found = rows.collect::<rusqlite::Result<Vec<_>>>()?;
            found.into_iter().map(|found| with_payload(connection, found)).collect()
        })
    }

    fn dead_letter(&mut self, id: &str) -> Result<Option<DeadLetter>> {
        let Ok(id) = id.parse::<i64>() else { return Ok(None) };
        self.session.read(|connection| {
            let mut select = connection.prepare_cached(&format!("{LETTERS} WHERE dead.id = ?1"))?;
            let found = select.query_row([id], letter).optional()?;
            found.map(|found| with_payload(connection, found)).transpose()
        })
    }

    fn dead_replay(&mut self, ids: &[String]) -> Result<u64> {
        self.session.write(Commit::Durable, |step| {
            let mut replayed = 0;
            for id in numbers(ids) {
                if let Some(parcel) = step.exhume(id)? {
                    step.push_back(Parcel { failed: 0, ..parcel })?;
                    replayed += 1;
                }
            }
            Ok(replayed)
        })
    }

    fn dead_purge(&mut self, ids: Option<&[String]>) -> Result<u64> {
        if let Some(ids) = ids {
            return self.session.write(Commit::Durable, |step| step.forget_letters(&numbers(ids)));
        }
        let mut forgotten = 0;
        loop {
            let some = self.session.write(Commit::Durable, |step| {
                let oldest = step.oldest_letters(AT_ONCE)?;
                step.forget_letters(&oldest)
            })?;
            forgotten += some;
            if some < AT_ONCE as u64 {
                return Ok(forgotten);
            }
        }
    }
}
