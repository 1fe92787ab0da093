//! Is responsible for fair turns among all who want to write.
//!
//! SQLite lets writers poll for its lock with growing pauses, so one busy writer can keep another waiting for a second.
//! Here everybody passes a turnstile first: within the process a fair mutex, between processes two record locks on a
//! file beside the database. Byte 0 is the place at the head of the line, byte 1 the turn itself; whoever finished has
//! to get to the head of the line again before it can take another turn, so nobody can push in for long. The kernel
//! drops the locks of a process that dies.
//!
//! Only fairness depends on this. Who cannot get a turn in time (a process was stopped while it stood in line) goes on
//! and meets SQLite's own lock.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use crate::sync::{FairMutex, FairMutexGuard, Mutex};

/// How long to stand in line before doing without a turn.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long nobody waits after the line turned out to be blocked.
const DISTRUST: Duration = Duration::from_secs(5);

/// Pauses between two looks at a taken lock.
const FIRST_PAUSE: Duration = Duration::from_micros(20);
const LONGEST_PAUSE: Duration = Duration::from_micros(250);

const HEAD_OF_LINE: i64 = 0;
const TURN: i64 = 1;

/// Device and inode.
type FileId = (u64, u64);

/// Turnstiles of this process by file. A process must have only one descriptor of such a file: closing any
/// would drop the locks taken through the others.
static TURNSTILES: LazyLock<Mutex<HashMap<FileId, Arc<Turnstile>>>> = LazyLock::new(Mutex::default);

/// Where writers to one file take turns.
pub(super) struct Turnstile {
    file: File,
    process: u32,
    inside: FairMutex<()>,
    opened: Instant,
    /// Microseconds after `opened` until which nobody waits for other processes.
    distrusted_until: AtomicU64,
}

/// A turn; over when dropped.
pub(super) struct Turn<'a> {
    turnstile: &'a Turnstile,
    locked: bool,
    _inside: Option<FairMutexGuard<'a, ()>>,
}

impl Turnstile {
    /// The turnstile for the file at `path`, made if it is not there.
    pub(super) fn at(path: &std::path::Path) -> std::io::Result<Arc<Self>> {
        // No fork while the table is locked: the child could never lock it.
        let _inside = super::fork::inside();
        let mut known = TURNSTILES.lock();
        known.retain(|_, turnstile| {
            // One that came through a fork belongs to the parent: forget it without closing its descriptor twice.
            Arc::strong_count(turnstile) > 1 || turnstile.process != std::process::id()
        });
        if let Ok(found) = std::fs::metadata(path) {
            match known.get(&(found.dev(), found.ino())) {
                Some(turnstile) if turnstile.process == std::process::id() => return Ok(Arc::clone(turnstile)),
                _ => {}
            }
        }
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o666).open(path)?;
        let found = file.metadata()?;
        let turnstile = Arc::new(Self {
            file,
            process: std::process::id(),
            inside: FairMutex::new(()),
            opened: Instant::now(),
            distrusted_until: AtomicU64::new(0),
        });
        if let Some(inherited) = known.insert((found.dev(), found.ino()), Arc::clone(&turnstile)) {
            std::mem::forget(inherited);
        }
        Ok(turnstile)
    }

    /// Waits for a turn.
    pub(super) fn enter(&self) -> Turn<'_> {
        let deadline = Instant::now() + PATIENCE;
        let inside = self.inside.lock_until(deadline);
        let locked = inside.is_some() && self.pass(deadline);
        Turn { turnstile: self, locked, _inside: inside }
    }

    fn pass(&self, deadline: Instant) -> bool {
        if !self.wait_for(HEAD_OF_LINE, deadline) {
            return false;
        }
        let passed = self.wait_for(TURN, deadline);
        self.set(HEAD_OF_LINE, libc::F_UNLCK);
        passed
    }

    fn wait_for(&self, byte: i64, deadline: Instant) -> bool {
        let mut pause = FIRST_PAUSE;
        while !self.set(byte, libc::F_WRLCK) {
            if self.is_distrusted() {
                return false;
            }
            if Instant::now() >= deadline {
                let until = self.opened.elapsed() + DISTRUST;
                self.distrusted_until.store(until.as_micros() as u64, Ordering::Relaxed);
                return false;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        true
    }

    fn is_distrusted(&self) -> bool {
        let until = self.distrusted_until.load(Ordering::Relaxed);
        until != 0 && (self.opened.elapsed().as_micros() as u64) < until
    }

    /// Takes or drops the lock on one byte; false when another process has it.
    fn set(&self, byte: i64, kind: i32) -> bool {
        // SAFETY: an all-zero `flock` is a valid value of that plain C struct.
        let mut range: libc::flock = unsafe { std::mem::zeroed() };
        range.l_type = kind as libc::c_short;
        range.l_whence = libc::SEEK_SET as libc::c_short;
        range.l_start = byte;
        range.l_len = 1;
        // SAFETY: the descriptor is open as long as `self.file` lives, and `range` is a valid `flock` for the call.
        unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_SETLK, &range) == 0 }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.locked {
            self.turnstile.set(TURN, libc::F_UNLCK);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_within_a_process() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("t");
        let inside = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let turnstile = Turnstile::at(&path).expect("a turnstile");
                        let turn = turnstile.enter();
                        assert!(turn.locked);
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two at once");
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
    }

    #[test]
    fn a_replaced_file_gets_a_new_turnstile() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("t");
        let first = Turnstile::at(&path).expect("a turnstile");
        assert!(Arc::ptr_eq(&first, &Turnstile::at(&path).expect("a turnstile")));
        std::fs::remove_file(&path).expect("remove");
        assert!(!Arc::ptr_eq(&first, &Turnstile::at(&path).expect("a turnstile")));
    }
}
