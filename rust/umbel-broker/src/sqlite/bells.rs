//! Is responsible for waking who waits: a datagram to a socket whose name stands in the `waiters` table.
//!
//! Whoever commits something looks up who waits for it in the same transaction, and rings after the commit. A ring can
//! get lost (the ringing process died in between, or lives where the socket cannot be reached), so waiting also looks
//! at the database every now and then.

use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use rustix::event::{PollFd, PollFlags, Timespec};

use super::fault::Fault;
use super::session::{Commit, Session};
use crate::error::{BrokerError, Result};

/// How often who waits looks at the database without having been rung.
pub(super) const FALLBACK: Duration = Duration::from_millis(250);

/// What a ring says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tone {
    /// A queue has messages.
    Ready = b'm' as isize,
    /// A queue has a new delayed message.
    Delayed = b'd' as isize,
    /// A result was written.
    Result = b'r' as isize,
    /// Somebody wants the wait to end.
    Wake = b'w' as isize,
}

/// What was heard during a wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// Any ring at all.
    pub(super) any: bool,
    /// A new delayed message.
    pub(super) delayed: bool,
    /// A wake.
    pub(super) wake: bool,
}

/// A socket to be rung at.
pub(super) struct Bell {
    socket: UnixDatagram,
    address: String,
    process: u32,
}

impl Bell {
    /// A bell that `session` has written into the table of waiters for `queues`, and for `others` than queues
    /// (`session::RESULTS` and its like).
    pub(super) fn hang(session: &mut Session, queues: &[String], others: &[i64]) -> Result<Self> {
        let bell = Self::new().map_err(|error| BrokerError::Unavailable {
            url: session.location().display_url(),
            detail: format!("no socket to wait on: {error}"),
        })?;
        bell.register(session, queues, others)?;
        Ok(bell)
    }

    fn new() -> std::io::Result<Self> {
        let address = format!("umbel-{}", uuid::Uuid::new_v4().simple());
        let socket = UnixDatagram::bind_addr(&socket_address(&address)?)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address, process: std::process::id() })
    }

    /// Writes the bell into the table of waiters (again, after the file was replaced).
    pub(super) fn register(&self, session: &mut Session, queues: &[String], others: &[i64]) -> Result<()> {
        session.write(Commit::Repeatable, |step| {
            let mut ids = queues.iter().map(|queue| step.queue_id(queue)).collect::<Result<Vec<i64>, Fault>>()?;
            ids.extend(others);
            let mut insert =
                step.connection.prepare_cached("INSERT OR IGNORE INTO waiters (queue, address) VALUES (?1, ?2)")?;
            for id in ids {
                insert.execute(rusqlite::params![id, self.address])?;
            }
            Ok(())
        })
    }

    /// Takes the bell out of the table of waiters. Who cannot is found out by the next to ring.
    pub(super) fn take_down(&self, session: &mut Session) {
        if self.process != std::process::id() {
            return;
        }
        let gone = session.write(Commit::Repeatable, |step| {
            let mut delete = step.connection.prepare_cached("DELETE FROM waiters WHERE address = ?1")?;
            Ok(delete.execute([&self.address])?)
        });
        if let Err(error) = gone {
            log::debug!("a waiter could not be signed off: {error}");
        }
    }

    /// Waits for a ring, at most `timeout`, and takes all there are.
    pub(super) fn wait(&self, timeout: Duration) -> std::io::Result<Heard> {
        let heard = self.drain()?;
        if heard.any || timeout.is_zero() {
            return Ok(heard);
        }
        let limit = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        match rustix::event::poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&limit)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => self.drain(),
            Err(error) => Err(error.into()),
        }
    }

    fn drain(&self) -> std::io::Result<Heard> {
        let mut heard = Heard::default();
        let mut tone = [0_u8; 1];
        loop {
            match self.socket.recv(&mut tone) {
                Ok(_) => {
                    heard.any = true;
                    heard.delayed |= tone[0] == Tone::Delayed as u8;
                    heard.wake |= tone[0] == Tone::Wake as u8;
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(heard),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Something other threads can end [`Bell::wait`] with.
    pub(super) fn cord(&self) -> std::io::Result<Cord> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Cord { socket, address: self.address.as_str().into() })
    }
}

#[cfg(not(target_os = "linux"))]
impl Drop for Bell {
    fn drop(&mut self) {
        if self.process == std::process::id() {
            let _ = std::fs::remove_file(std::env::temp_dir().join(&self.address));
        }
    }
}

/// Rings one bell of this process.
pub(super) struct Cord {
    socket: UnixDatagram,
    address: Arc<str>,
}

impl Cord {
    pub(super) fn pull(&self) {
        // A full socket has rings waiting, and a closed one nobody: both need no more.
        let _ = send(&self.socket, &self.address, Tone::Wake);
    }
}

/// Rings other handles' bells.
#[derive(Default)]
pub(super) struct Ringer {
    socket: Option<UnixDatagram>,
    /// Waiters that are no more, to be taken out of the table by the next transaction.
    stale: Vec<String>,
}

impl Ringer {
    pub(super) fn ring(&mut self, calls: Vec<(String, Tone)>) {
        if calls.is_empty() {
            return;
        }
        if self.socket.is_none() {
            self.socket = UnixDatagram::unbound().and_then(|socket| socket.set_nonblocking(true).map(|()| socket)).ok();
        }
        let Some(socket) = &self.socket else { return };
        for (address, tone) in calls {
            match send(socket, &address, tone) {
                Err(error) if is_gone(&error) => self.stale.push(address),
                _ => {}
            }
        }
    }

    /// Takes waiters that were not there when rung out of the table.
    pub(super) fn forget_stale(&mut self, connection: &Connection) -> Result<(), Fault> {
        for address in self.stale.drain(..) {
            connection.prepare_cached("DELETE FROM waiters WHERE address = ?1")?.execute([address])?;
        }
        Ok(())
    }
}

fn is_gone(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::NotFound)
}

fn send(socket: &UnixDatagram, address: &str, tone: Tone) -> std::io::Result<usize> {
    socket.send_to_addr(&[tone as u8], &socket_address(address)?)
}

/// Names without a file where there are such: nothing is left behind by a process that was killed.
#[cfg(target_os = "linux")]
fn socket_address(name: &str) -> std::io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt;
    SocketAddr::from_abstract_name(name.as_bytes())
}

#[cfg(not(target_os = "linux"))]
fn socket_address(name: &str) -> std::io::Result<SocketAddr> {
    SocketAddr::from_pathname(std::env::temp_dir().join(name))
}
