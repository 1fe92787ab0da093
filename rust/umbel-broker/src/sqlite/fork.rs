//! Is responsible for SQLite surviving `fork`.
//!
//! SQLite keeps one table of open files per process. A forked child inherits that table without the locks it speaks of,
//! and would trust it: a connection the child opens to a file that its parent had open would run without locks. So two
//! things happen here. While a fork is going on no thread is inside SQLite, so that the child gets no mutex that nobody
//! will ever unlock. And before the child opens its first connection, it closes the inherited ones, after which the
//! table is empty. Handles that hold an inherited connection find it gone and say so.

use std::cell::RefCell;
use std::sync::{Arc, Once, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use crate::sync::Mutex;

/// A connection that can be taken away from its handle.
pub(super) type Slot = Mutex<Option<Connection>>;

/// Held for reading inside SQLite, for writing while forking.
static INSIDE: RwLock<()> = RwLock::new(());

/// Every connection this process (or, in a forked child, its parent) has open.
static OPEN: Mutex<Vec<(u32, Weak<Slot>)>> = Mutex::new(Vec::new());

thread_local! {
    static FORKING: RefCell<Option<RwLockWriteGuard<'static, ()>>> = const { RefCell::new(None) };
}

/// To be held by every call into SQLite; never across a wait for something else, nor across a call of the logger, which
/// may wait for the very thread that forks.
pub(super) fn inside() -> RwLockReadGuard<'static, ()> {
    INSIDE.read().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Opens a connection that is safe from forks; closes what a parent left behind before.
pub(super) fn open(open: impl FnOnce() -> rusqlite::Result<Connection>) -> rusqlite::Result<Arc<Slot>> {
    register();
    let _inside = inside();
    let process = std::process::id();
    let mut known = OPEN.lock();
    for (_, slot) in known.iter().filter(|(owner, _)| *owner != process) {
        slot.upgrade().inspect(|slot| abandon(slot));
    }
    known.retain(|(owner, slot)| *owner == process && slot.strong_count() > 0);
    let slot = Arc::new(Mutex::new(Some(open()?)));
    known.push((process, Arc::downgrade(&slot)));
    Ok(slot)
}

/// Closes an inherited connection, leaving the file as it is: it is the parent's.
pub(super) fn abandon(slot: &Slot) {
    if let Some(connection) = slot.lock().take() {
        let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        drop(connection);
    }
}

fn register() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // SAFETY: the handlers are plain functions that live for ever; each only takes or drops a lock.
        let failed = unsafe { libc::pthread_atfork(Some(before), Some(after), Some(after)) };
        if failed != 0 {
            log::warn!(
                "fork handlers could not be registered (error {failed}): do not fork while tasks are being sent"
            );
        }
    });
}

extern "C" fn before() {
    let guard = INSIDE.write().unwrap_or_else(std::sync::PoisonError::into_inner);
    FORKING.with(|forking| *forking.borrow_mut() = Some(guard));
}

extern "C" fn after() {
    FORKING.with(|forking| forking.borrow_mut().take());
}
