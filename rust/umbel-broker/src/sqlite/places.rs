//! Where a message is: ready, held, delayed or dead; and the moves between those places.

use rusqlite::{OptionalExtension, Row, params};
use umbel_protocol::Timestamp;

use super::bells::Tone;
use super::fault::Fault;
use super::session::Step;
use crate::broker::DeadReason;

/// Due messages moved by one transaction; the rest waits for the next, so that none takes long.
const DUE_AT_ONCE: i64 = 1000;

/// A message on its way from one place to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parcel {
    pub(super) message: i64,
    pub(super) queue: i64,
    pub(super) step: u8,
    pub(super) failed: u32,
    pub(super) redelivered: bool,
}

impl Parcel {
    /// From the columns `message, queue, step, failed, redelivered`, the first of them at `at`.
    pub(super) fn from_row(row: &Row<'_>, at: usize) -> rusqlite::Result<Self> {
        Ok(Self {
            message: row.get(at)?,
            queue: row.get(at + 1)?,
            step: row.get(at + 2)?,
            failed: row.get(at + 3)?,
            redelivered: row.get(at + 4)?,
        })
    }

    /// The same, marked as handed out before.
    pub(super) fn returned(self, failed: bool) -> Self {
        Self { failed: self.failed.saturating_add(u32::from(failed)), redelivered: true, ..self }
    }
}

impl Step<'_> {
    pub(super) fn push_back(&mut self, parcel: Parcel) -> Result<(), Fault> {
        let (_, last) = self.ends_of(parcel)?;
        *last += 1;
        let position = *last;
        self.insert_ready(parcel, position)
    }

    pub(super) fn push_front(&mut self, parcel: Parcel) -> Result<(), Fault> {
        let (first, _) = self.ends_of(parcel)?;
        *first -= 1;
        let position = *first;
        self.insert_ready(parcel, position)
    }

    /// First and last taken position of the parcel's queue and step.
    fn ends_of(&mut self, parcel: Parcel) -> Result<&mut (i64, i64), Fault> {
        use std::collections::hash_map::Entry;
        match self.ends.entry((parcel.queue, parcel.step)) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(unknown) => {
                let mut select = self.connection.prepare_cached(
                    "SELECT (SELECT min(position) FROM ready WHERE queue = ?1 AND step = ?2),
                            (SELECT max(position) FROM ready WHERE queue = ?1 AND step = ?2)",
                )?;
                let ends: (Option<i64>, Option<i64>) =
                    select.query_row(params![parcel.queue, parcel.step], |row| Ok((row.get(0)?, row.get(1)?)))?;
                Ok(unknown.insert((ends.0.unwrap_or(1), ends.1.unwrap_or(0))))
            }
        }
    }

    fn insert_ready(&mut self, parcel: Parcel, position: i64) -> Result<(), Fault> {
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO ready (queue, step, position, message, failed, redelivered) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        let Parcel { message, queue, step, failed, redelivered } = parcel;
        insert.execute(params![queue, step, position, message, failed, redelivered])?;
        drop(insert);
        self.ring(queue, Tone::Ready);
        Ok(())
    }

    /// Takes up to `limit` messages from the front of one queue and step.
    pub(super) fn take_ready(&mut self, queue: i64, step: u8, limit: usize) -> Result<Vec<Parcel>, Fault> {
        let mut select = self.connection.prepare_cached(
            "SELECT message, queue, step, failed, redelivered, position FROM ready
             WHERE queue = ?1 AND step = ?2 ORDER BY position LIMIT ?3",
        )?;
        let mut last = 0;
        let rows = select.query_map(params![queue, step, limit as i64], |row| {
            last = row.get(5)?;
            Parcel::from_row(row, 0)
        })?;
        let taken = rows.collect::<rusqlite::Result<Vec<Parcel>>>()?;
        if !taken.is_empty() {
            // What was read is everything up to the last of it.
            let mut delete = self
                .connection
                .prepare_cached("DELETE FROM ready WHERE queue = ?1 AND step = ?2 AND position <= ?3")?;
            delete.execute(params![queue, step, last])?;
        }
        Ok(taken)
    }

    pub(super) fn hold(&mut self, epoch: i64, sequence: i64, parcel: Parcel) -> Result<(), Fault> {
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO held (epoch, sequence, message, queue, step, failed, redelivered)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?;
        let Parcel { message, queue, step, failed, redelivered } = parcel;
        insert.execute(params![epoch, sequence, message, queue, step, failed, redelivered])?;
        Ok(())
    }

    /// Ends the holding of one message; `None` when it is not held.
    pub(super) fn release(&mut self, epoch: i64, sequence: i64) -> Result<Option<Parcel>, Fault> {
        let mut select = self.connection.prepare_cached(
            "SELECT message, queue, step, failed, redelivered FROM held WHERE epoch = ?1 AND sequence = ?2",
        )?;
        let found = select.query_row([epoch, sequence], |row| Parcel::from_row(row, 0)).optional()?;
        if found.is_some() {
            let mut delete = self.connection.prepare_cached("DELETE FROM held WHERE epoch = ?1 AND sequence = ?2")?;
            delete.execute([epoch, sequence])?;
        }
        Ok(found)
    }

    /// Delays a message; says its number among those that are due at the same time.
    pub(super) fn delay(&mut self, parcel: Parcel, due: Timestamp) -> Result<i64, Fault> {
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO delayed (due, number, message, queue, step, failed, redelivered)
             VALUES (?1, (SELECT 1 + coalesce(max(number), 0) FROM delayed WHERE due = ?1), ?2, ?3, ?4, ?5, ?6)
             RETURNING number",
        )?;
        let Parcel { message, queue, step, failed, redelivered } = parcel;
        let row = params![due.0, message, queue, step, failed, redelivered];
        let number = insert.query_row(row, |row| row.get(0))?;
        drop(insert);
        self.ring(queue, Tone::Delayed);
        Ok(number)
    }

    /// Takes one delayed message out; `None` when it is there no more.
    pub(super) fn take_delayed(&mut self, due: Timestamp, number: i64) -> Result<Option<Parcel>, Fault> {
        let mut take = self.connection.prepare_cached(
            "DELETE FROM delayed WHERE due = ?1 AND number = ?2
             RETURNING message, queue, step, failed, redelivered",
        )?;
        Ok(take.query_row([due.0, number], |row| Parcel::from_row(row, 0)).optional()?)
    }

    pub(super) fn is_held(&self, epoch: i64, sequence: i64) -> Result<bool, Fault> {
        let mut exists = self.connection.prepare_cached("SELECT 1 FROM held WHERE epoch = ?1 AND sequence = ?2")?;
        Ok(exists.exists([epoch, sequence])?)
    }

    /// Moves delayed messages that are due to the backs of their queues; says when the next one is due.
    pub(super) fn move_due(&mut self) -> Result<Option<Timestamp>, Fault> {
        let next = next_due(self.connection)?;
        if next.is_none_or(|due| due > self.now) {
            return Ok(next);
        }
        let mut select = self.connection.prepare_cached(
            "SELECT message, queue, step, failed, redelivered, due, number FROM delayed
             WHERE due <= ?1 ORDER BY due, number LIMIT ?2",
        )?;
        let rows = select.query_map(params![self.now.0, DUE_AT_ONCE], |row| {
            Ok((Parcel::from_row(row, 0)?, row.get(5)?, row.get(6)?))
        })?;
        let due = rows.collect::<rusqlite::Result<Vec<(Parcel, i64, i64)>>>()?;
        for (parcel, moment, number) in due {
            let mut delete = self.connection.prepare_cached("DELETE FROM delayed WHERE due = ?1 AND number = ?2")?;
            delete.execute([moment, number])?;
            drop(delete);
            self.push_back(parcel)?;
        }
        next_due(self.connection)
    }

    pub(super) fn bury(&mut self, parcel: Parcel, reason: &DeadReason) -> Result<(), Fault> {
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO dead (message, queue, step, failed, redelivered, kind, detail, at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?;
        let Parcel { message, queue, step, failed, redelivered } = parcel;
        insert.execute(params![message, queue, step, failed, redelivered, reason.kind, reason.detail, self.now.0])?;
        Ok(())
    }

    /// Returns everything held under `epoch`, except `keep`, to the fronts of the queues in the order it was taken.
    pub(super) fn give_back(&mut self, epoch: i64, keep: &dyn Fn(i64) -> bool, failed: bool) -> Result<usize, Fault> {
        let mut select = self.connection.prepare_cached(
            "SELECT message, queue, step, failed, redelivered, sequence FROM held
             WHERE epoch = ?1 ORDER BY sequence DESC",
        )?;
        let rows = select.query_map([epoch], |row| Ok((Parcel::from_row(row, 0)?, row.get(5)?)))?;
        let held = rows.collect::<rusqlite::Result<Vec<(Parcel, i64)>>>()?;
        let mut returned = 0;
        for (parcel, sequence) in held.into_iter().filter(|(_, sequence)| !keep(*sequence)) {
            let mut delete = self.connection.prepare_cached("DELETE FROM held WHERE epoch = ?1 AND sequence = ?2")?;
            delete.execute([epoch, sequence])?;
            drop(delete);
            self.push_front(parcel.returned(failed))?;
            returned += 1;
        }
        Ok(returned)
    }
}

/// When the earliest delayed message is due.
pub(super) fn next_due(connection: &rusqlite::Connection) -> Result<Option<Timestamp>, Fault> {
    let mut select = connection.prepare_cached("SELECT min(due) FROM delayed")?;
    Ok(select.query_row([], |row| row.get::<_, Option<i64>>(0))?.map(Timestamp))
}

/// True when `queue` has a ready message.
pub(super) fn has_ready(connection: &rusqlite::Connection, queue: i64) -> Result<bool, Fault> {
    let mut select = connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM ready WHERE queue = ?1)")?;
    Ok(select.query_row([queue], |row| row.get(0))?)
}
