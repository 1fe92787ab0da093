//! The children of a worker as the operating system sees them: sockets and processes in one epoll set.
//!
//! A child with a process is gone when its process is, whoever else still holds its socket; a child without one (a
//! pool in this process) is gone when its link closes. A process that lives on after its link broke can report
//! nothing any more, so it is killed after a moment's grace.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

use super::exit;
use crate::engine::{Cancel, ChildId, Job, JobId};
use crate::link::parent::LinkBroken;
use crate::link::{PROTOCOL_VERSION, ParentLink, ToMain};

/// How long a process may live on after its link broke: a normal exit closes the link just before it ends.
const GRACE: Duration = Duration::from_secs(1);

/// What a descriptor in the epoll set belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Messages from other threads.
    Mailbox,
    /// A child's socket.
    Link(ChildId),
    /// A child's process.
    Process(ChildId),
}

impl Source {
    fn data(self) -> EventData {
        EventData::new_u64(match self {
            Self::Mailbox => 0,
            Self::Link(child) => u64::from(child.0) << 2 | 1,
            Self::Process(child) => u64::from(child.0) << 2 | 2,
        })
    }

    fn from_data(data: u64) -> Self {
        let child = ChildId((data >> 2) as u32);
        match data & 3 {
            1 => Self::Link(child),
            2 => Self::Process(child),
            _ => Self::Mailbox,
        }
    }
}

/// The epoll set, for who waits while others use the children.
pub(super) struct Watch(Arc<OwnedFd>);

impl Watch {
    /// Waits until something stirs, at most for `timeout`.
    pub(super) fn wait(&self, timeout: Option<Duration>, stirring: &mut Vec<Source>) -> io::Result<()> {
        let mut events = [epoll::Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; 64];
        let timeout = timeout.and_then(|timeout| timeout.try_into().ok());
        let count = match epoll::wait(&*self.0, &mut events, timeout.as_ref()) {
            Ok(count) => count,
            Err(Errno::INTR) => 0,
            Err(error) => return Err(error.into()),
        };
        stirring.extend(events[..count].iter().map(|event| Source::from_data(event.data.u64())));
        Ok(())
    }
}

/// All children, and the epoll set.
#[derive(Debug)]
pub(super) struct Children {
    epoll: Arc<OwnedFd>,
    all: HashMap<ChildId, Child>,
    /// Children with bytes to be written.
    unflushed: Vec<ChildId>,
}

#[derive(Debug)]
struct Child {
    /// `None` once broken.
    link: Option<ParentLink>,
    process: Option<Process>,
    slots: usize,
    ready: bool,
    /// The socket is also watched for room.
    watched_for_room: bool,
    /// The link broke: when to kill the process.
    kill_at: Option<Instant>,
}

#[derive(Debug)]
struct Process {
    pid: i32,
    handle: Handle,
}

/// How a process can be reached.
#[derive(Debug)]
enum Handle {
    /// By a descriptor, which also tells when it ends.
    Pidfd(OwnedFd),
    /// By its number only, on kernels without pidfds.
    Number,
    /// Not at all: it had ended before it was handed over. Its link will say so, after its last words.
    Ended,
}

/// A child as it is handed over.
#[derive(Debug)]
pub(super) struct NewChild {
    pub(super) child: ChildId,
    pub(super) socket: OwnedFd,
    pub(super) pid: Option<i32>,
    pub(super) slots: usize,
}

/// What became of a child after its link or process stirred.
#[derive(Debug, PartialEq)]
pub(super) enum Stir {
    /// It lives.
    Alive,
    /// It is gone, and forgotten here.
    Gone { pid: Option<i32>, how: String },
}

impl Children {
    pub(super) fn new(mailbox: impl AsFd) -> io::Result<Self> {
        let epoll = Arc::new(epoll::create(epoll::CreateFlags::CLOEXEC)?);
        epoll::add(&epoll, mailbox, Source::Mailbox.data(), EventFlags::IN)?;
        Ok(Self { epoll, all: HashMap::new(), unflushed: Vec::new() })
    }

    /// What to wait at.
    pub(super) fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.epoll))
    }

    /// Takes a child over. On an error it is gone.
    pub(super) fn add(&mut self, new: NewChild) -> io::Result<()> {
        let NewChild { child, socket, pid, slots } = new;
        let link = ParentLink::new(socket)?;
        let own = i32::try_from(std::process::id()).ok();
        let process = match pid.filter(|pid| Some(*pid) != own) {
            Some(pid) => Some(Process::watch(pid)?),
            None => None,
        };
        epoll::add(&self.epoll, &link, Source::Link(child).data(), EventFlags::IN)?;
        if let Some(Process { handle: Handle::Pidfd(pidfd), .. }) = &process {
            epoll::add(&self.epoll, pidfd, Source::Process(child).data(), EventFlags::IN)?;
        }
        let entry = Child { link: Some(link), process, slots, ready: false, watched_for_room: false, kill_at: None };
        self.all.insert(child, entry);
        Ok(())
    }

    pub(super) fn pid(&self, child: ChildId) -> Option<i32> {
        self.all.get(&child)?.process.as_ref().map(|process| process.pid)
    }

    /// Slots to use of a child that says it has `told`, the first time it says so; whether it can be killed.
    pub(super) fn ready(&mut self, child: ChildId, told: usize) -> Option<(usize, bool)> {
        let entry = self.all.get_mut(&child).filter(|entry| !entry.ready)?;
        entry.ready = true;
        Some((told.min(entry.slots).max(1), entry.process.is_some()))
    }

    /// Receives into `frames`, which is empty, what a child's socket holds.
    pub(super) fn receive(&mut self, child: ChildId, frames: &mut Vec<ToMain>) -> Stir {
        let Some(link) = self.all.get_mut(&child).and_then(|entry| entry.link.as_mut()) else {
            return Stir::Alive;
        };
        let received = link.receive(frames).and_then(|_| check_version(frames));
        self.unflushed.push(child);
        match received {
            Ok(()) => Stir::Alive,
            Err(broken) => self.link_broke(child, &broken),
        }
    }

    /// A child's process has ended: receives the last it said.
    pub(super) fn process_ended(&mut self, child: ChildId, frames: &mut Vec<ToMain>) -> Stir {
        let Some(mut entry) = self.all.remove(&child) else { return Stir::Alive };
        if let Some(mut link) = entry.link.take() {
            while let Ok(true) = link.receive(frames) {}
            let _ = epoll::delete(&self.epoll, &link);
        }
        let Some(Process { pid, handle: Handle::Pidfd(pidfd) }) = entry.process else { return Stir::Alive };
        let how = exit::describe(pid, pidfd.as_fd());
        let _ = epoll::delete(&self.epoll, &pidfd);
        Stir::Gone { pid: Some(pid), how }
    }

    fn link_broke(&mut self, child: ChildId, broken: &LinkBroken) -> Stir {
        let Some(entry) = self.all.get_mut(&child) else { return Stir::Alive };
        if let Some(link) = entry.link.take() {
            let _ = epoll::delete(&self.epoll, &link);
        }
        let grace = if matches!(broken, LinkBroken::Closed) { GRACE } else { Duration::ZERO };
        match &entry.process {
            Some(Process { handle: Handle::Pidfd(_), .. }) => {
                entry.kill_at = Some(Instant::now() + grace);
                Stir::Alive
            }
            process => {
                // Without a descriptor nobody tells when the process ends; make sure that it does.
                let pid = process.as_ref().map(|process| process.pid);
                if let Some(process) = process {
                    process.kill();
                }
                self.all.remove(&child);
                Stir::Gone { pid, how: broken.to_string() }
            }
        }
    }

    /// When to call [`Children::kill_stragglers`].
    pub(super) fn next_kill(&self) -> Option<Instant> {
        self.all.values().filter_map(|entry| entry.kill_at).min()
    }

    /// Kills processes that have outlived their link.
    pub(super) fn kill_stragglers(&mut self, now: Instant) {
        for (child, entry) in &mut self.all {
            if entry.kill_at.is_some_and(|at| at <= now) {
                entry.kill_at = None;
                log::warn!("child {} lives on without its link and is killed", child.0);
                entry.kill();
            }
        }
    }

    /// Queues jobs; returns those too large for a link.
    pub(super) fn send_jobs(&mut self, child: ChildId, jobs: Vec<Job>) -> Vec<Job> {
        self.link(child).map_or_else(Vec::new, |link| link.send_jobs(jobs))
    }

    pub(super) fn send_recall(&mut self, child: ChildId, jobs: &[JobId]) {
        if let Some(link) = self.link(child) {
            link.send_recall(jobs);
        }
    }

    pub(super) fn send_soft_limit(&mut self, child: ChildId, job: JobId) {
        if let Some(link) = self.link(child) {
            link.send_soft_limit(job);
        }
    }

    pub(super) fn send_cancel(&mut self, child: ChildId, job: JobId, why: Cancel) {
        if let Some(link) = self.link(child) {
            link.send_cancel(job, why);
        }
    }

    pub(super) fn send_stop(&mut self, child: ChildId) {
        if let Some(link) = self.link(child) {
            link.send_stop();
        }
    }

    pub(super) fn kill(&self, child: ChildId) {
        self.signal(child, libc::SIGKILL);
    }

    /// Sends a child's process a signal.
    pub(super) fn signal(&self, child: ChildId, signal: i32) {
        if let Some(process) = self.all.get(&child).and_then(|entry| entry.process.as_ref()) {
            process.signal(signal);
        }
    }

    pub(super) fn kill_all(&self) {
        self.all.values().for_each(Child::kill);
    }

    fn link(&mut self, child: ChildId) -> Option<&mut ParentLink> {
        self.unflushed.push(child);
        self.all.get_mut(&child)?.link.as_mut()
    }

    /// Writes what is queued, as far as the children take it; the rest goes out when they have room.
    pub(super) fn flush(&mut self) {
        for child in std::mem::take(&mut self.unflushed) {
            let Some(entry) = self.all.get_mut(&child) else { continue };
            let Some(link) = entry.link.as_mut() else { continue };
            // A broken link is noticed when it is read, after what the child said last.
            let wants_room = matches!(link.flush(), Ok(false));
            if wants_room != entry.watched_for_room {
                let flags = if wants_room { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
                if epoll::modify(&self.epoll, &*link, Source::Link(child).data(), flags).is_ok() {
                    entry.watched_for_room = wants_room;
                }
            }
        }
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        self.kill_all();
    }
}

/// A child of another version is told apart by its first frame, and nothing of it is used.
fn check_version(frames: &mut Vec<ToMain>) -> Result<(), LinkBroken> {
    match frames.first() {
        Some(ToMain::Ready { version, .. }) if *version != PROTOCOL_VERSION => {
            let detail = format!("version {version}, and this worker speaks {PROTOCOL_VERSION}: restart the worker");
            frames.clear();
            Err(LinkBroken::Malformed(umbel_protocol::Malformed::new("child link", detail)))
        }
        _ => Ok(()),
    }
}

impl Child {
    fn kill(&self) {
        if let Some(process) = &self.process {
            process.kill();
        }
    }
}

impl Process {
    fn watch(pid: i32) -> io::Result<Self> {
        let known = Pid::from_raw(pid).filter(|_| pid > 0);
        let known =
            known.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("{pid} is no process id")))?;
        let handle = match rustix::process::pidfd_open(known, PidfdFlags::empty()) {
            Ok(pidfd) => Handle::Pidfd(pidfd),
            Err(Errno::NOSYS | Errno::PERM) => Handle::Number,
            Err(Errno::SRCH) => Handle::Ended,
            Err(error) => return Err(error.into()),
        };
        Ok(Self { pid, handle })
    }

    fn kill(&self) {
        self.signal(libc::SIGKILL);
    }

    fn signal(&self, number: i32) {
        let Some(signal) = Signal::from_named_raw(number) else {
            return log::error!("{number} is the number of no signal");
        };
        let sent = match &self.handle {
            Handle::Pidfd(pidfd) => rustix::process::pidfd_send_signal(pidfd, signal),
            Handle::Number => Pid::from_raw(self.pid).map_or(Ok(()), |pid| rustix::process::kill_process(pid, signal)),
            Handle::Ended => Ok(()),
        };
        if let Err(error) = sent
            && error != Errno::SRCH
        {
            log::error!("cannot send signal {number} to process {}: {error}", self.pid);
        }
    }
}
