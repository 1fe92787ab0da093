//! What executors and the link thread do with the state they share: take jobs, and write reports.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use super::reader::{Heard, Reader};
use super::state::{LINGER, State};
use crate::engine::Job;
use crate::link::incoming::Incoming;
use crate::link::outgoing;

/// Buffered bytes at which a report is written at once.
const ENOUGH: usize = 32 << 10;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) socket: OwnedFd,
    /// Wakes the link thread.
    pub(super) wake: OwnedFd,
    /// Wakes the executor that listens at the socket.
    pub(super) nudge: OwnedFd,
    /// Readable while an event loop has something to look at; made when the first one asks.
    pub(super) bell: OnceLock<OwnedFd>,
    pub(super) state: Mutex<State>,
    /// Locked before `state` where both are.
    pub(super) incoming: Mutex<Incoming>,
    /// Jobs have arrived, or none will.
    pub(super) arrivals: Condvar,
    /// A write has ended.
    pub(super) written: Condvar,
    /// Whether soft limits are told by SIGUSR1.
    pub(super) signals: bool,
}

impl Shared {
    /// A thread that panicked left the state as it was between two statements, none of which can break it.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn next(&self, deadline: Option<Instant>) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if let Some(job) = self.start_next(&mut state) {
                return Some(job);
            }
            if state.retiring || state.stopped || state.closing {
                return None;
            }
            state = if state.listening { self.sleep(state, deadline) } else { self.listen(state, deadline) };
            if state.waiting.is_empty() && deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return None;
            }
        }
    }

    /// Waits until a thread that reads frames says that jobs have come, or none will.
    fn sleep<'a>(&'a self, mut state: MutexGuard<'a, State>, deadline: Option<Instant>) -> MutexGuard<'a, State> {
        state.sleepers += 1;
        state = match deadline {
            None => self.arrivals.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(deadline) => {
                let rest = deadline.saturating_duration_since(Instant::now());
                self.arrivals.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0
            }
        };
        state.sleepers -= 1;
        state
    }

    /// Waits at the socket itself, beside the link thread: a job that comes to an idle child wakes its executor without
    /// a thread in between.
    fn listen<'a>(&'a self, mut state: MutexGuard<'a, State>, deadline: Option<Instant>) -> MutexGuard<'a, State> {
        state.listening = true;
        drop(state);
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let readable = self.wait_readable(&self.nudge, left);
        let heard = match readable {
            Ok(false) => Heard::Frames,
            Ok(true) => self.try_receive(Reader::Executor),
            Err(error) => {
                self.lose("wait for", &error);
                Heard::Broken
            }
        };
        let mut state = self.lock();
        state.listening = false;
        match heard {
            Heard::Frames => state,
            Heard::Busy => {
                // The link thread is at it. It may take longer than a nap: the caller looks again.
                let nap = Instant::now() + LINGER;
                self.sleep(state, Some(deadline.map_or(nap, |deadline| deadline.min(nap))))
            }
            Heard::Broken => {
                self.set_gone(&mut state);
                state
            }
        }
    }

    /// The next of the waiting jobs, which has started now.
    pub(super) fn start_next(&self, state: &mut State) -> Option<Job> {
        let job = state.start()?;
        self.arm(state);
        if job.batch.is_some() {
            state.start_companions(&job);
        }
        Some(job)
    }

    /// A job has ended: whether its report is to be written now because nothing else would give an occasion soon.
    pub(super) fn is_due(&self, state: &mut State) -> bool {
        let due =
            state.waiting.is_empty() || state.out.len() > ENOUGH || state.due.is_some_and(|due| due <= Instant::now());
        if !due {
            self.arm(state);
        }
        due
    }

    /// Makes sure that the link thread looks at the buffer when it is due.
    pub(super) fn arm(&self, state: &mut State) {
        state.active = true;
        let Some(due) = state.due else { return };
        if state.looks_at.is_none_or(|looks_at| looks_at > due) {
            state.looks_at = Some(due);
            self.wake();
        }
    }

    pub(super) fn wake(&self) {
        raise(&self.wake);
    }

    /// Has the event loop look, if one serves this link.
    pub(super) fn ring(&self) {
        if let Some(bell) = self.bell.get() {
            raise(bell);
        }
    }

    /// The event loop is about to look.
    pub(super) fn hush(&self) {
        if let Some(bell) = self.bell.get() {
            let _ = rustix::io::read(bell, &mut [0u8; 8]);
        }
    }

    /// Has every executor that waits look at the state.
    pub(super) fn call_all(&self, state: &State) {
        self.arrivals.notify_all();
        self.ring();
        if state.listening {
            raise(&self.nudge);
        }
    }

    /// Has as many executors look as there are jobs for.
    pub(super) fn call_some(&self, state: &State, jobs: usize) {
        self.ring();
        for _ in 0..jobs.min(state.sleepers) {
            self.arrivals.notify_one();
        }
        if state.listening && jobs > state.sleepers {
            raise(&self.nudge);
        }
    }

    /// Writes all that is unsent, unless another thread is at it: that one goes on until nothing is left.
    pub(super) fn write_out<'a>(&'a self, mut state: MutexGuard<'a, State>) {
        if state.writing {
            return;
        }
        state.writing = true;
        while state.has_unsent() && !state.gone {
            let unsent = state.take_unsent();
            drop(state);
            let sent = outgoing::send_all(self.socket.as_fd(), &unsent.0, &unsent.1);
            state = self.lock();
            if let Err(error) = sent {
                drop(state);
                self.lose("write to", &error);
                state = self.lock();
            }
            state.keep_spare(unsent);
        }
        state.writing = false;
        self.written.notify_all();
    }

    /// The link is broken: whichever thread notices first says why.
    pub(super) fn lose(&self, doing: &str, error: &io::Error) {
        let mut state = self.lock();
        if state.gone {
            return;
        }
        match error.raw_os_error() {
            Some(libc::EPIPE | libc::ECONNRESET) => log::debug!("the main process is gone: {error}"),
            Some(libc::EBADF | libc::ENOTSOCK) => log::error!(
                "cannot {doing} the main process: {error}; has a task closed descriptors that are not its own?"
            ),
            _ => log::error!("cannot {doing} the main process: {error}"),
        }
        // Not before: an executor that hears of it may end the process.
        self.set_gone(&mut state);
    }

    pub(super) fn set_gone(&self, state: &mut State) {
        state.gone = true;
        state.stopped = true;
        state.waiting.clear();
        state.started.clear();
        state.out.clear();
        (state.open, state.due) = (None, None);
        self.call_all(state);
        self.written.notify_all();
    }
}

/// Makes an eventfd readable. Fails only when its counter is full, and then it is.
fn raise(event: &OwnedFd) {
    let _ = rustix::io::write(event, &1u64.to_ne_bytes());
}
