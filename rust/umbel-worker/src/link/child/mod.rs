//! A child's end of the link: jobs in, outcomes out, without Python.
//!
//! 1. The link thread reads frames, and so does one of the executors while it has nothing to do. Jobs wait in a local
//!    queue; executors (one or many threads) take them with [`ChildLink::next`].
//! 2. What executors report collects in a buffer. Whoever finishes a job while nothing else is waiting writes it out
//!    at once; so does one who finds the buffer large or due. Thus a busy child writes once per batch and an idle one
//!    without delay. A report is due after 5 ms, or as long as its job had waited here to start, up to 20 ms.
//! 3. Whatever is still in the buffer after that time is written by the link thread, which needs no lock that an
//!    executor holds while it runs a task (in particular not the GIL).
//! 4. A recall needs no executor: the link thread answers it while tasks run.
//!
//! Locks are the standard library's, for the reason that [`umbel_broker::sync`] gives.
//!
//! The link thread is woken only when the buffer turns non-empty while it sleeps; while there is traffic it looks
//! once in that time.

mod reader;
mod shared;
mod state;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::EventfdFlags;
use umbel_protocol::ResultWrite;

use super::{LinkError, fields, frame, outgoing, thread};
use crate::engine::{Cancel, Job, JobId, Outcome};
use shared::Shared;

/// A child's end of the socket to the main process. Many threads may call it.
#[derive(Debug)]
pub struct ChildLink {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl ChildLink {
    /// Takes over `socket`, says that `slots` jobs can run at a time, and starts the link thread.
    ///
    /// With one slot, soft time limits are told by SIGUSR1 to the process's main thread, provided that it has a
    /// handler; see [`ChildLink::soft_limit_job`].
    pub fn new(socket: OwnedFd, slots: usize) -> Result<Self, LinkError> {
        let socket = out_of_the_way(socket)?;
        let wake = out_of_the_way(eventfd()?)?;
        let nudge = out_of_the_way(eventfd()?)?;
        let shared = Arc::new(Shared {
            socket,
            wake,
            nudge,
            bell: OnceLock::new(),
            state: Mutex::default(),
            incoming: Mutex::default(),
            arrivals: Condvar::new(),
            written: Condvar::new(),
            signals: slots == 1,
        });
        frame::put_ready(&mut shared.lock().out, slots);
        shared.write_out(shared.lock());
        let shared_with_thread = Arc::clone(&shared);
        let thread = thread::spawn("umbel-link", move || shared_with_thread.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Waits for the next job, which counts as started from then on. `None` at the timeout (never without one) or
    /// once the child should end.
    pub fn next(&self, timeout: Option<Duration>) -> Option<Job> {
        self.shared.next(timeout.map(|timeout| Instant::now() + timeout))
    }

    /// As [`ChildLink::next`], of the jobs that are here already: never waits.
    pub fn next_waiting(&self) -> Option<Job> {
        let mut state = self.shared.lock();
        self.shared.start_next(&mut state)
    }

    /// For an event loop in place of threads that wait in [`ChildLink::next`]: readable while [`ChildLink::take`] or
    /// [`ChildLink::interruptions`] may have something, or [`ChildLink::is_ending`] has turned true.
    pub fn bell(&self) -> Result<BorrowedFd<'_>, LinkError> {
        if self.shared.bell.get().is_none() {
            // Two that ask at once make two, and one of them is dropped.
            let _ = self.shared.bell.set(out_of_the_way(eventfd()?)?);
            self.shared.ring();
        }
        let bell = self.shared.bell.get().ok_or_else(|| std::io::Error::other("no descriptor"))?;
        Ok(bell.as_fd())
    }

    /// The next `most` jobs, which count as started from now on. The bell rings on while there are more and `most` is
    /// not 0; else it is up to the caller to come again once it has room.
    pub fn take(&self, most: usize) -> Vec<Job> {
        self.shared.hush();
        let mut state = self.shared.lock();
        let jobs: Vec<Job> = std::iter::from_fn(|| self.shared.start_next(&mut state)).take(most).collect();
        if most > 0 && !state.waiting.is_empty() {
            self.shared.ring();
        }
        jobs
    }

    /// Running jobs that are to be interrupted, each once for each reason: `None` is the soft limit.
    pub fn interruptions(&self) -> Vec<(JobId, Option<Cancel>)> {
        let mut state = self.shared.lock();
        let soft: Vec<JobId> = state.overdue.drain(..).collect();
        let hard: Vec<(JobId, Cancel)> = state.cancelled.drain(..).collect();
        let found = soft.into_iter().map(|job| (job, None)).chain(hard.into_iter().map(|(job, why)| (job, Some(why))));
        found.filter(|(job, _)| state.running.contains_key(job)).collect()
    }

    /// The jobs that are to run with one that has started, once. They have started with it.
    pub fn companions(&self, job: JobId) -> Vec<Job> {
        self.shared.lock().companions.remove(&job).unwrap_or_default()
    }

    /// Reports how a job ended. Written within about 20 ms, at once if nothing else waits to run; never waits unless
    /// the main process is slow to read. `TooLarge` leaves the job running.
    pub fn finish(&self, outcome: &Outcome) -> Result<(), LinkError> {
        if self.report(outcome)? {
            self.write();
        }
        Ok(())
    }

    /// The first half of [`ChildLink::finish`], which never waits. True if [`ChildLink::write`] must follow; else the
    /// link thread writes the report when it is due.
    pub fn report(&self, outcome: &Outcome) -> Result<bool, LinkError> {
        check(fields::outcome_size(outcome))?;
        let mut state = self.shared.lock();
        state.running.remove(&outcome.job);
        state.overdue.retain(|job| *job != outcome.job);
        // A start that was not told yet goes without saying.
        if let Some(index) = state.started.iter().rposition(|job| *job == outcome.job) {
            state.started.swap_remove(index);
        }
        state.put_outcome(outcome);
        Ok(self.shared.is_due(&mut state))
    }

    /// As [`ChildLink::write`], by the link thread: for callers that must not wait at all.
    pub fn write_soon(&self) {
        let mut state = self.shared.lock();
        (state.hurried, state.active, state.looks_at) = (true, true, Some(Instant::now()));
        drop(state);
        self.shared.wake();
    }

    /// Whether an event loop serves this link: see [`ChildLink::bell`].
    pub fn has_bell(&self) -> bool {
        self.shared.bell.get().is_some()
    }

    /// Writes what was reported, unless another thread is at it. Waits while the main process is slow to read.
    pub fn write(&self) {
        self.shared.write_out(self.shared.lock());
    }

    /// Stores a record while a job runs, in order with what [`ChildLink::finish`] will store.
    pub fn progress(&self, job: JobId, result: &ResultWrite) -> Result<(), LinkError> {
        check(fields::result_size(result))?;
        let mut state = self.shared.lock();
        state.seal();
        frame::put_progress(&mut state.out, job, result);
        state.write_soon();
        self.shared.arm(&mut state);
        Ok(())
    }

    /// Asks for no more jobs: those that have not started go back, and `next` returns `None` from now on.
    pub fn retire(&self) {
        let mut state = self.shared.lock();
        if state.retiring || state.stopped {
            return;
        }
        state.retiring = true;
        // First that it retires, so that what comes back is not sent here again.
        state.seal();
        frame::put_ids(&mut state.out, frame::RETIRING, &[]);
        state.give_back();
        self.shared.call_all(&state);
        self.shared.write_out(state);
    }

    /// Asks for a replacement, and works on until that is there.
    pub fn ask_for_relief(&self) {
        let mut state = self.shared.lock();
        if state.retiring || state.stopped {
            return;
        }
        state.seal();
        frame::put_ids(&mut state.out, frame::WANTS_RELIEF, &[]);
        state.write_soon();
        self.shared.arm(&mut state);
    }

    /// The running job whose soft limit has passed, once; for the SIGUSR1 handler. A job that has ended since is not
    /// returned, so the exception never hits the next one.
    pub fn soft_limit_job(&self) -> Option<Job> {
        let mut state = self.shared.lock();
        let job = state.overdue.pop_front()?;
        state.running.get(&job).cloned()
    }

    /// Waits until everything reported is written, or the main process is gone.
    pub fn flush(&self) {
        let mut state = self.shared.lock();
        while !state.gone && (state.writing || state.has_unsent()) {
            state = if state.writing {
                self.shared.written.wait(state).unwrap_or_else(PoisonError::into_inner)
            } else {
                self.shared.write_out(state);
                self.shared.lock()
            };
        }
    }

    /// Whether the main process said stop, or is gone.
    pub fn stopped(&self) -> bool {
        self.shared.lock().stopped
    }

    /// Whether `next` returns no more jobs: the child retires, or [`ChildLink::stopped`].
    pub fn is_ending(&self) -> bool {
        let state = self.shared.lock();
        state.retiring || state.stopped
    }

    /// Jobs that `next` has returned and `finish` has not ended.
    pub fn running(&self) -> usize {
        self.shared.lock().running.len()
    }
}

impl Drop for ChildLink {
    /// Writes what is left and closes the socket.
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closing = true;
        self.shared.call_all(&state);
        drop(state);
        self.shared.wake();
        if let Some(thread) = self.thread.take() {
            // The thread reports its own panic, if any, as a lost main process.
            let _ = thread.join();
        }
    }
}

fn eventfd() -> std::io::Result<OwnedFd> {
    Ok(rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

/// Where the link's descriptors are, if the limit of the process allows it.
const FIRST_DESCRIPTOR: i32 = 600;

/// A task may close every descriptor it can think of, and open files of its own. The lowest numbers are given to those
/// first, so that under a high one the link finds its socket or nothing, and never writes into a file of the task.
/// Programs that a task starts do not hold the link open.
fn out_of_the_way(descriptor: OwnedFd) -> std::io::Result<OwnedFd> {
    match rustix::io::fcntl_dupfd_cloexec(&descriptor, FIRST_DESCRIPTOR) {
        Ok(high) => Ok(high),
        Err(_) => {
            outgoing::close_on_exec(descriptor.as_fd())?;
            Ok(descriptor)
        }
    }
}

fn check(bytes: usize) -> Result<(), LinkError> {
    let limit = frame::MAX_ITEM;
    if bytes > limit { Err(LinkError::TooLarge { bytes, limit }) } else { Ok(()) }
}
