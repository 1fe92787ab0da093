//! Is responsible for the tables: their shape, their version, and whose file it is.
//!
//! A message's content is written once, into `messages`, and stays there untouched until the message is done. Where
//! the message *is* (ready, held, delayed, dead) is a row in one of four small tables that refer to it, so that taking
//! a message rewrites a few bytes and not its body. `ready` is ordered as it is served: queue, priority step, position.

use rusqlite::{Connection, TransactionBehavior};

use super::fault::Fault;
use super::location::Location;
use crate::error::BrokerError;

/// `Umbl`: says that the file is ours.
const APPLICATION_ID: i64 = 0x556d_626c;

/// What each version added to the one before. Steps are never changed, only added: files of every version are about.
const STEPS: [&str; 5] = [TABLES, CONTROL, LOCKS, SLOTS, LINES];

/// Version of the tables below.
pub(super) const VERSION: i64 = STEPS.len() as i64;

const TABLES: &str = "
CREATE TABLE queues (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);
-- A NULL in `headers` means that `body` holds bytes which are no message.
CREATE TABLE messages (
    id INTEGER PRIMARY KEY,
    exchange TEXT NOT NULL DEFAULT '',
    routing_key TEXT NOT NULL DEFAULT '',
    content_type TEXT NOT NULL DEFAULT '',
    content_encoding TEXT NOT NULL DEFAULT '',
    correlation_id TEXT,
    reply_to TEXT,
    delivery_mode INTEGER,
    priority INTEGER,
    expiration TEXT,
    extra TEXT,
    headers TEXT,
    body BLOB
);
CREATE TABLE ready (
    queue INTEGER NOT NULL,
    step INTEGER NOT NULL,
    position INTEGER NOT NULL,
    message INTEGER NOT NULL,
    failed INTEGER NOT NULL DEFAULT 0,
    redelivered INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (queue, step, position)
) WITHOUT ROWID;
CREATE TABLE held (
    epoch INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    message INTEGER NOT NULL,
    queue INTEGER NOT NULL,
    step INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    redelivered INTEGER NOT NULL,
    PRIMARY KEY (epoch, sequence)
) WITHOUT ROWID;
CREATE TABLE delayed (
    due INTEGER NOT NULL,
    number INTEGER NOT NULL,
    message INTEGER NOT NULL,
    queue INTEGER NOT NULL,
    step INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    redelivered INTEGER NOT NULL,
    PRIMARY KEY (due, number)
) WITHOUT ROWID;
CREATE TABLE dead (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    message INTEGER NOT NULL,
    queue INTEGER NOT NULL,
    step INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    redelivered INTEGER NOT NULL,
    kind TEXT NOT NULL,
    detail TEXT NOT NULL,
    at INTEGER NOT NULL
);
-- One row per consumer handle; a worker's handles live and die together. Epochs are never used again.
CREATE TABLE leases (
    epoch INTEGER PRIMARY KEY AUTOINCREMENT,
    worker TEXT NOT NULL,
    expires INTEGER NOT NULL
);
CREATE INDEX leases_worker ON leases (worker);
CREATE TABLE bindings (
    exchange TEXT NOT NULL,
    kind INTEGER NOT NULL,
    routing_key TEXT NOT NULL,
    queue TEXT NOT NULL,
    PRIMARY KEY (exchange, kind, routing_key, queue)
) WITHOUT ROWID;
-- Sockets to ring when a queue gets a message (queue 0: when a result is written).
CREATE TABLE waiters (
    queue INTEGER NOT NULL,
    address TEXT NOT NULL,
    PRIMARY KEY (queue, address)
) WITHOUT ROWID;
-- `written` only grows: who listens asks for what came after the last it has seen.
CREATE TABLE results (
    written INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    expires INTEGER,
    record BLOB NOT NULL
);
CREATE INDEX results_expires ON results (expires) WHERE expires IS NOT NULL;
";

/// What is said to all workers, and what they must not forget.
const CONTROL: &str = "
CREATE TABLE revoked (
    what TEXT PRIMARY KEY,
    until INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE broadcasts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    exchange TEXT NOT NULL,
    at INTEGER NOT NULL,
    message BLOB NOT NULL
);
CREATE TABLE boxes (
    address TEXT PRIMARY KEY,
    at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE answers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    address TEXT NOT NULL,
    message BLOB NOT NULL
);
CREATE INDEX answers_address ON answers (address);
";

/// What messages have taken so that others like them are not published.
const LOCKS: &str = "
CREATE TABLE locks (
    name TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    until INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX locks_until ON locks (until);
-- Turns of rate limits that workers share.
CREATE TABLE lanes (
    name TEXT PRIMARY KEY,
    pause INTEGER NOT NULL,
    next INTEGER NOT NULL,
    later INTEGER NOT NULL
) WITHOUT ROWID;
";

/// How many tasks may run at a time.
const SLOTS: &str = "
CREATE TABLE slots (
    name TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    PRIMARY KEY (name, epoch, sequence)
) WITHOUT ROWID;
CREATE INDEX slots_epoch ON slots (epoch);
-- Rows of `delayed` that wait for a slot (or in a line: below).
CREATE TABLE waits (
    name TEXT NOT NULL,
    place INTEGER NOT NULL,
    due INTEGER NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (name, place)
) WITHOUT ROWID;
-- Messages that were woken for a slot, which is kept for them.
CREATE TABLE woken (
    name TEXT NOT NULL,
    message INTEGER NOT NULL,
    until INTEGER NOT NULL,
    PRIMARY KEY (name, message)
) WITHOUT ROWID;
-- How many slots there are of a name, while something waits for one.
CREATE TABLE limits (
    name TEXT PRIMARY KEY,
    slots INTEGER NOT NULL,
    seen INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX limits_seen ON limits (seen);
";

/// Fair sharing of queues.
const LINES: &str = "
-- How many messages of a line are in its queue; those that are not stand in `waits`.
CREATE TABLE lines (
    name TEXT PRIMARY KEY,
    inside INTEGER NOT NULL,
    moved INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX lines_moved ON lines (moved);
";

/// Refuses files that hold something else, before anything in them is changed.
pub(super) fn check_owner(connection: &Connection, location: &Location) -> Result<(), Fault> {
    let owner: i64 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    if owner == APPLICATION_ID {
        return Ok(());
    }
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables == 0 {
        return Ok(());
    }
    let detail = "the file is a database of something else: name a file of its own for Umbel".to_owned();
    Err(BrokerError::Config { setting: location.display_url(), detail }.into())
}

/// Makes the tables in a new file, and those that are missing in an older one.
pub(super) fn create(connection: &mut Connection, location: &Location) -> Result<(), Fault> {
    if version(connection)? == VERSION {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    check_owner(&transaction, location)?;
    let found = version(&transaction)?;
    if let Some(missing) = usize::try_from(found).ok().and_then(|found| STEPS.get(found..)) {
        for step in missing {
            transaction.execute_batch(step)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    check_version(&transaction, location)?;
    transaction.commit()?;
    Ok(())
}

/// Refuses tables of another version; asked in every transaction, because another process may bring a newer Umbel.
pub(super) fn check_version(connection: &Connection, location: &Location) -> Result<(), Fault> {
    let found = version(connection)?;
    if found == VERSION {
        return Ok(());
    }
    let detail = format!(
        "the file was written by a newer Umbel (tables of version {found}, this Umbel knows {VERSION}): upgrade Umbel \
         here, or use another file"
    );
    Err(BrokerError::Config { setting: location.display_url(), detail }.into())
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("PRAGMA user_version")?.query_row([], |row| row.get(0))
}
