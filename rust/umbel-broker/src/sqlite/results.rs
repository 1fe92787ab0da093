//! Result records in a file, and the calls the result store makes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{OptionalExtension, params};
use umbel_protocol::ResultWrite;

use super::SqliteBroker;
use super::bells::{Bell, Cord, FALLBACK, Tone};
use super::fault::Fault;
use super::session::{Commit, RESULTS, Session, Step};
use crate::error::{BrokerError, Result};

/// Records removed by one transaction of [`ResultTable::remove_expired`].
const AT_ONCE: usize = 2000;

impl Step<'_> {
    /// Writes records in order; a stored `SUCCESS` that lives is final.
    pub(super) fn write_results(&mut self, batch: &[ResultWrite]) -> Result<(), Fault> {
        if batch.is_empty() {
            return Ok(());
        }
        for write in batch {
            // Nearly always there is no earlier record.
            if !self.insert_result(write)? && self.remove_replaceable(&write.task_id)? {
                self.insert_result(write)?;
            }
        }
        self.ring(RESULTS, Tone::Result);
        Ok(())
    }

    /// False when there is a record of the task.
    fn insert_result(&self, write: &ResultWrite) -> Result<bool, Fault> {
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO results (task_id, state, expires, record) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (task_id) DO NOTHING",
        )?;
        let expires = write.expires.map(|life| self.now.after(life).0);
        Ok(insert.execute(params![write.task_id, write.state, expires, write.record])? > 0)
    }

    fn remove_replaceable(&self, task_id: &str) -> Result<bool, Fault> {
        let mut delete = self
            .connection
            .prepare_cached("DELETE FROM results WHERE task_id = ?1 AND (state <> 'SUCCESS' OR expires <= ?2)")?;
        Ok(delete.execute(params![task_id, self.now.0])? > 0)
    }

    /// Removes some of what has expired, after `written` records were written: twice as many, so that expired records
    /// become fewer however fast new ones come.
    pub(super) fn trim_results(&mut self, written: usize) -> Result<(), Fault> {
        if written > 0 {
            self.remove_expired(written * 2)?;
        }
        Ok(())
    }

    fn remove_expired(&mut self, limit: usize) -> Result<usize, Fault> {
        let mut delete = self.connection.prepare_cached(
            "DELETE FROM results WHERE written IN
             (SELECT written FROM results WHERE expires <= ?1 ORDER BY expires LIMIT ?2)",
        )?;
        Ok(delete.execute(params![self.now.0, limit as i64])?)
    }

    fn forget_result(&mut self, task_id: &str) -> Result<bool, Fault> {
        let mut select =
            self.connection.prepare_cached("SELECT expires IS NULL OR expires > ?2 FROM results WHERE task_id = ?1")?;
        let lived: Option<bool> = select.query_row(params![task_id, self.now.0], |row| row.get(0)).optional()?;
        if lived.is_some() {
            self.connection.prepare_cached("DELETE FROM results WHERE task_id = ?1")?.execute([task_id])?;
        }
        Ok(lived.unwrap_or(false))
    }
}

/// Reads and writes the records of one file.
pub struct ResultTable {
    session: Session,
}

impl ResultTable {
    /// Opens the file of `broker`.
    ///
    /// # Errors
    /// As for every handle of a [`SqliteBroker`].
    pub fn open(broker: &SqliteBroker) -> Result<Self> {
        Ok(Self { session: broker.session()? })
    }

    pub(super) fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Writes records in order; a stored `SUCCESS` is final.
    ///
    /// # Errors
    /// When the transaction could not be committed; then nothing was written.
    pub fn write(&mut self, batch: &[ResultWrite]) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        self.session.write(Commit::Durable, |step| {
            step.write_results(batch)?;
            step.trim_results(batch.len())
        })
    }

    /// Records of `task_ids`, in that order.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(&mut self, task_ids: &[String]) -> Result<Vec<Option<Vec<u8>>>> {
        let now = self.session.now();
        self.session.read(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT record FROM results WHERE task_id = ?1 AND (expires IS NULL OR expires > ?2)",
            )?;
            let mut records = Vec::with_capacity(task_ids.len());
            for task_id in task_ids {
                records.push(select.query_row(params![task_id, now.0], |row| row.get(0)).optional()?);
            }
            Ok(records)
        })
    }

    /// Removes records; says how many there were.
    ///
    /// # Errors
    /// When the transaction could not be committed; then nothing was removed.
    pub fn forget(&mut self, task_ids: &[String]) -> Result<u64> {
        if task_ids.is_empty() {
            return Ok(0);
        }
        self.session.write(Commit::Durable, |step| {
            let mut forgotten = 0;
            for task_id in task_ids {
                forgotten += u64::from(step.forget_result(task_id)?);
            }
            Ok(forgotten)
        })
    }

    /// Removes expired records; says how many.
    ///
    /// # Errors
    /// When a transaction could not be committed.
    pub fn remove_expired(&mut self) -> Result<u64> {
        let mut removed = 0;
        loop {
            let some = self.session.write(Commit::Durable, |step| step.remove_expired(AT_ONCE))?;
            removed += some as u64;
            if some < AT_ONCE {
                return Ok(removed);
            }
        }
    }
}

/// Hears of records as they are written to one file.
pub struct ResultEar {
    session: Session,
    bell: Bell,
    wanted: HashSet<String>,
    /// Number of the last record that was looked at.
    last: i64,
    woken: bool,
    /// True after an error: the file may be another, so it is opened anew before anything is heard again.
    broken: bool,
}

impl ResultEar {
    /// An ear that has heard everything up to now.
    ///
    /// # Errors
    /// As for every handle of a [`SqliteBroker`].
    pub fn open(broker: &SqliteBroker) -> Result<Self> {
        let mut session = broker.session()?;
        let bell = Bell::hang(&mut session, &[], &[super::session::RESULTS])?;
        let last = latest(&session)?;
        Ok(Self { session, bell, wanted: HashSet::new(), last, woken: false, broken: false })
    }

    /// Hears of `task_ids` from now on.
    ///
    /// # Errors
    /// When the file had to be opened anew and cannot be.
    pub fn subscribe(&mut self, task_ids: &[String]) -> Result<()> {
        if self.broken {
            let mut session = self.session.reopened()?;
            self.bell.register(&mut session, &[], &[super::session::RESULTS])?;
            self.last = latest(&session)?;
            self.session = session;
            self.broken = false;
        }
        self.wanted.extend(task_ids.iter().cloned());
        Ok(())
    }

    /// Hears of `task_ids` no longer.
    pub fn unsubscribe(&mut self, task_ids: &[String]) {
        for task_id in task_ids {
            self.wanted.remove(task_id);
        }
    }

    /// Blocks until records arrive, a nudge, or `timeout`.
    ///
    /// # Errors
    /// When the file cannot be read; the next [`ResultEar::subscribe`] opens it anew.
    pub fn next(&mut self, timeout: Duration) -> Result<Vec<(String, Vec<u8>)>> {
        let outcome = self.hear(timeout);
        self.broken |= outcome.is_err();
        outcome
    }

    fn hear(&mut self, timeout: Duration) -> Result<Vec<(String, Vec<u8>)>> {
        let start = Instant::now();
        loop {
            let heard = self.written_since()?;
            let left = timeout.saturating_sub(start.elapsed());
            if !heard.is_empty() || std::mem::take(&mut self.woken) {
                return Ok(heard);
            }
            let rang = self.bell.wait(left.min(FALLBACK)).map_err(|error| BrokerError::Connection {
                url: self.session.location().display_url(),
                detail: format!("the socket to wait on failed: {error}"),
            })?;
            self.woken |= rang.wake;
            if left.is_zero() && !rang.any {
                return Ok(Vec::new());
            }
        }
    }

    fn written_since(&mut self) -> Result<Vec<(String, Vec<u8>)>> {
        let (wanted, last) = (&self.wanted, &mut self.last);
        self.session.read(|connection| {
            let mut select = connection
                .prepare_cached("SELECT written, task_id, record FROM results WHERE written > ?1 ORDER BY written")?;
            let mut rows = select.query([*last])?;
            let mut heard = Vec::new();
            while let Some(row) = rows.next()? {
                *last = row.get(0)?;
                let task_id = row.get_ref(1)?.as_str().unwrap_or("");
                if wanted.contains(task_id) {
                    heard.push((task_id.to_owned(), row.get(2)?));
                }
            }
            Ok(heard)
        })
    }

    /// Something other threads can interrupt [`ResultEar::next`] with.
    ///
    /// # Errors
    /// When the process has no descriptor left for it.
    pub fn nudge(&self) -> Result<Nudge> {
        let cord = self.bell.cord().map_err(|error| BrokerError::Unavailable {
            url: self.session.location().display_url(),
            detail: format!("no socket to interrupt a wait with: {error}"),
        })?;
        Ok(Nudge(Arc::new(cord)))
    }
}

fn latest(session: &Session) -> Result<i64> {
    session.read(|connection| {
        let mut select = connection.prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'results'")?;
        Ok(select.query_row([], |row| row.get(0)).optional()?.unwrap_or(0))
    })
}

impl Drop for ResultEar {
    fn drop(&mut self) {
        self.bell.take_down(&mut self.session);
    }
}

/// Interrupts one [`ResultEar`].
#[derive(Clone)]
pub struct Nudge(Arc<Cord>);

impl Nudge {
    /// Makes the ear's present or next wait return.
    pub fn nudge(&self) {
        self.0.pull();
    }
}
