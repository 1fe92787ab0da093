//! What executors and the link thread do with the state they share: take jobs, and write reports.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::state::State;
use crate::engine::Job;
use crate::link::outgoing;

/// How long a report may wait for company.
pub(super) const LINGER: Duration = Duration::from_millis(1);

/// Buffered bytes at which a report is written at once.
const ENOUGH: usize = 32 << 10;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) socket: OwnedFd,
    /// Wakes the link thread.
    pub(super) wake: OwnedFd,
    pub(super) state: Mutex<State>,
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
            state.sleepers += 1;
            state = match deadline {
                None => self.arrivals.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let rest = deadline.saturating_duration_since(Instant::now());
                    self.arrivals.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0
                }
            };
            state.sleepers -= 1;
            if state.waiting.is_empty() && deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return None;
            }
        }
    }

    /// The next of the waiting jobs, which has started now.
    pub(super) fn start_next(&self, state: &mut State) -> Option<Job> {
        let job = state.waiting.pop_front()?;
        state.started.push(job.id);
        state.since_now();
        self.arm(state);
        state.running.insert(job.id, job.clone());
        Some(job)
    }

    /// A job has ended: whether its report is to be written now because nothing else would give an occasion soon.
    pub(super) fn is_due(&self, state: &mut State) -> bool {
        let due = state.waiting.is_empty()
            || state.out.len() > ENOUGH
            || state.oldest.is_some_and(|oldest| oldest.elapsed() > LINGER);
        if !due {
            self.arm(state);
        }
        due
    }

    /// Makes sure that the link thread looks at the buffer within `LINGER`.
    pub(super) fn arm(&self, state: &mut State) {
        state.active = true;
        if !state.armed {
            state.armed = true;
            self.wake();
        }
    }

    pub(super) fn wake(&self) {
        // Fails only when the counter is full, and then the thread is awake.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
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
                log::debug!("the main process is gone: {error}");
                self.set_gone(&mut state);
            }
            state.keep_spare(unsent);
        }
        state.writing = false;
        self.written.notify_all();
    }

    pub(super) fn set_gone(&self, state: &mut State) {
        state.gone = true;
        state.stopped = true;
        state.waiting.clear();
        state.started.clear();
        state.out.clear();
        (state.open, state.oldest) = (None, None);
        self.arrivals.notify_all();
        self.written.notify_all();
    }
}
