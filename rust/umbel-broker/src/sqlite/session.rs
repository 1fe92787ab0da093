//! One connection to a database file: how it is opened, read from and written to.

use std::collections::{BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use umbel_protocol::Timestamp;

use super::bells::{Ringer, Tone};
use super::fault::Fault;
use super::fork::{self, Slot};
use super::location::{Location, Synchronous};
use super::turnstile::Turnstile;
use super::{folder, schema};
use crate::clock::Clock;
use crate::error::{BrokerError, Result};

/// Statements kept prepared per connection; there are fewer.
const STATEMENTS: usize = 96;

/// Pages the log may grow to before a commit copies them into the database: 16 MB, so that a burst is copied in large
/// pieces.
const CHECKPOINT_PAGES: i64 = 4000;

/// Number that stands for "results" where bells are asked for by queue.
pub(super) const RESULTS: i64 = 0;

/// The same for what is said to all workers.
pub(super) const BROADCASTS: i64 = -1;

/// The same for answers to that.
pub(super) const ANSWERS: i64 = -2;

/// A connection with what belongs to it.
pub(crate) struct Session {
    location: Arc<Location>,
    clock: Arc<dyn Clock>,
    slot: Arc<Slot>,
    turnstile: Arc<Turnstile>,
    /// Device and inode of the file that is open: the path may come to mean another.
    file: (u64, u64),
    /// True while commits wait for the disk.
    synced: bool,
    process: u32,
    queue_ids: HashMap<String, i64>,
    ringer: Ringer,
}

/// What a commit is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Commit {
    /// As durable as the location says.
    Durable,
    /// Survives the death of any process, but a power cut may undo it: for what undoing only repeats (a message taken,
    /// a lease renewed). Whatever is committed durably later makes it durable too.
    Repeatable,
}

/// What a transaction works with.
pub(super) struct Step<'a> {
    pub(super) connection: &'a Connection,
    pub(super) now: Timestamp,
    /// As [`Clock::steady`] has it.
    pub(super) steady: Duration,
    queue_ids: &'a mut HashMap<String, i64>,
    /// First and last position of the ready messages of a queue and step, as far as this transaction needed them.
    pub(super) ends: HashMap<(i64, u8), (i64, i64)>,
    rung: BTreeSet<(i64, Tone)>,
}

impl Session {
    /// Opens the file, making it and its tables if they are not there.
    pub(crate) fn open(location: Arc<Location>, clock: Arc<dyn Clock>) -> Result<Self> {
        folder::check(&location)?;
        let turnstile = Turnstile::at(&location.turnstile_path()).map_err(|error| BrokerError::Access {
            url: location.display_url(),
            detail: format!("its folder cannot be written ({error}): check owner and permissions"),
        })?;
        let turn = turnstile.enter();
        let slot = fork::open(|| connect(&location)).map_err(|error| Fault::from(error).at(&location))?;
        let file = {
            let _inside = fork::inside();
            let mut held = slot.lock();
            present(&mut held, &location)
                .and_then(|connection| prepare(connection, &location))
                .map_err(|fault| fault.at(&location))?;
            identify(&location)?
        };
        drop(turn);
        let synced = location.synchronous == Synchronous::Full;
        let (process, queue_ids, ringer) = (std::process::id(), HashMap::new(), Ringer::default());
        Ok(Self { location, clock, slot, turnstile, file, synced, process, queue_ids, ringer })
    }

    pub(super) fn location(&self) -> &Arc<Location> {
        &self.location
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Opens the same file anew, as after a lost connection.
    pub(super) fn reopened(&self) -> Result<Self> {
        Self::open(Arc::clone(&self.location), Arc::clone(&self.clock))
    }

    /// Runs `work` without a transaction of its own: each statement sees the latest commit.
    pub(super) fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T> {
        self.check_in_place()?;
        let _inside = fork::inside();
        let mut held = self.slot.lock();
        let connection = present(&mut held, &self.location).map_err(|fault| fault.at(&self.location))?;
        work(connection).map_err(|fault| fault.at(&self.location))
    }

    /// Runs `work` in one transaction and commits it, or nothing of it; then rings whom it concerns.
    pub(super) fn write<T>(
        &mut self,
        commit: Commit,
        work: impl FnOnce(&mut Step<'_>) -> Result<T, Fault>,
    ) -> Result<T> {
        self.check_in_place()?;
        let turnstile = Arc::clone(&self.turnstile);
        let turn = turnstile.enter();
        let outcome = self.transact(commit, work);
        drop(turn);
        match outcome {
            Ok((done, calls)) => {
                self.ringer.ring(calls);
                Ok(done)
            }
            Err(fault) => {
                self.queue_ids.clear();
                Err(fault.at(&self.location))
            }
        }
    }

    fn transact<T>(
        &mut self,
        commit: Commit,
        work: impl FnOnce(&mut Step<'_>) -> Result<T, Fault>,
    ) -> Result<(T, Vec<(String, Tone)>), Fault> {
        let _inside = fork::inside();
        let mut held = self.slot.lock();
        let connection: &Connection = present(&mut held, &self.location)?;
        let synced = commit == Commit::Durable && self.location.synchronous == Synchronous::Full;
        if synced != self.synced {
            connection.execute_batch(if synced {
                "PRAGMA synchronous = FULL"
            } else {
                "PRAGMA synchronous = NORMAL"
            })?;
            self.synced = synced;
        }
        let mut open = OpenTransaction::begin(connection)?;
        schema::check_version(connection, &self.location)?;
        let mut step = Step {
            connection,
            now: self.clock.now(),
            steady: self.clock.steady(),
            queue_ids: &mut self.queue_ids,
            ends: HashMap::new(),
            rung: BTreeSet::new(),
        };
        let done = work(&mut step)?;
        let calls = step.calls()?;
        self.ringer.forget_stale(connection)?;
        open.commit()?;
        Ok((done, calls))
    }

    /// Fails when the path does not lead to the open file any more, or the process is not the one that opened it.
    fn check_in_place(&self) -> Result<()> {
        if self.process != std::process::id() {
            return Err(inherited(&self.location));
        }
        match identify(&self.location) {
            Ok(found) if found == self.file => Ok(()),
            _ => Err(BrokerError::Connection {
                url: self.location.display_url(),
                detail: "the file was deleted or replaced while it was open".to_owned(),
            }),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            fork::abandon(&self.slot);
        }
    }
}

impl Step<'_> {
    /// The number of a queue, given on first use.
    pub(super) fn queue_id(&mut self, name: &str) -> Result<i64, Fault> {
        if let Some(id) = self.queue_ids.get(name) {
            return Ok(*id);
        }
        self.connection.prepare_cached("INSERT OR IGNORE INTO queues (name) VALUES (?1)")?.execute([name])?;
        let mut find = self.connection.prepare_cached("SELECT id FROM queues WHERE name = ?1")?;
        let id = find.query_row([name], |row| row.get(0))?;
        self.queue_ids.insert(name.to_owned(), id);
        Ok(id)
    }

    /// The number of a queue that this connection has met before.
    pub(super) fn known_queue(&self, name: &str) -> Option<i64> {
        self.queue_ids.get(name).copied()
    }

    /// Has everybody who waits for `queue` (or [`RESULTS`]) rung after the commit.
    pub(super) fn ring(&mut self, queue: i64, tone: Tone) {
        self.rung.insert((queue, tone));
    }

    fn calls(&self) -> Result<Vec<(String, Tone)>, Fault> {
        let mut calls = Vec::new();
        let mut waiting = self.connection.prepare_cached("SELECT address FROM waiters WHERE queue = ?1")?;
        for (queue, tone) in &self.rung {
            for address in waiting.query_map([queue], |row| row.get(0))? {
                calls.push((address?, *tone));
            }
        }
        Ok(calls)
    }
}

/// A transaction that is rolled back unless it was committed.
struct OpenTransaction<'a> {
    connection: &'a Connection,
    committed: bool,
}

impl<'a> OpenTransaction<'a> {
    fn begin(connection: &'a Connection) -> Result<Self, Fault> {
        if !connection.is_autocommit() {
            // Undoing the last one failed.
            connection.execute_batch("ROLLBACK")?;
        }
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(Self { connection, committed: false })
    }

    fn commit(&mut self) -> Result<(), Fault> {
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        self.committed = true;
        Ok(())
    }
}

impl Drop for OpenTransaction<'_> {
    fn drop(&mut self) {
        // SQLite may have rolled back by itself (disk full). What fails here is tried again by the next `begin`; it is
        // not logged, because a logger in Python would wait for an interpreter that may be waiting for us, to fork.
        if !self.committed && !self.connection.is_autocommit() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
    }
}

/// The connection, unless it was taken away because the process is a fork of the one that opened it.
fn present<'a>(slot: &'a mut Option<Connection>, location: &Location) -> Result<&'a mut Connection, Fault> {
    slot.as_mut().ok_or_else(|| inherited(location).into())
}

fn inherited(location: &Location) -> BrokerError {
    let detail = "this handle was opened before the process forked; open a new one".to_owned();
    BrokerError::Connection { url: location.display_url(), detail }
}

fn connect(location: &Location) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&location.path, flags)?;
    connection.busy_timeout(location.timeout)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Otherwise a statement is compiled anew whenever the value of a range or limit changes.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}

fn prepare(connection: &mut Connection, location: &Location) -> Result<(), Fault> {
    schema::check_owner(connection, location)?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        let detail = format!("the file system does not support SQLite's write-ahead log (journal mode {mode:?})");
        return Err(BrokerError::Config { setting: location.display_url(), detail }.into());
    }
    let synchronous = match location.synchronous {
        Synchronous::Full => "FULL",
        Synchronous::Normal => "NORMAL",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", -4000)?;
    schema::create(connection, location)
}

fn identify(location: &Location) -> Result<(u64, u64)> {
    let found = std::fs::metadata(&location.path)
        .map_err(|error| BrokerError::Connection { url: location.display_url(), detail: error.to_string() })?;
    Ok((found.dev(), found.ino()))
}
