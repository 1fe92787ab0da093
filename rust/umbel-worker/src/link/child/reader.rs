//! Reading frames, which the link thread and an idle executor do, and the link thread itself, which also writes what
//! executors leave unwritten.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use super::shared::Shared;
use super::state::State;
use crate::engine::{Job, JobId};
use crate::link::frame::ToChild;
use crate::link::incoming::{Incoming, ReadState};

impl Shared {
    /// The link thread.
    pub(super) fn run(&self) {
        let _last = LastWords(self);
        while let Some(timeout) = self.look() {
            let readable = match self.wait_readable(&self.wake, timeout) {
                Ok(readable) => readable,
                Err(error) => return self.lose("wait for", &error),
            };
            if readable && !self.receive(&mut self.lock_incoming(), Reader::LinkThread) {
                return;
            }
        }
    }

    /// Writes what is due. Returns how long to wait for frames: `Some(None)` for ever, `None` to end.
    fn look(&self) -> Option<Option<Duration>> {
        let mut state = self.lock();
        if state.closing {
            self.write_out(state);
            return None;
        }
        let now = Instant::now();
        // One more look while there is traffic spares it a wake-up for each batch.
        let again = now + state.linger();
        match state.due {
            Some(due) if due > now && !state.hurried => {
                state.looks_at = Some(due);
                return Some(Some(due - now));
            }
            Some(_) => {
                (state.active, state.hurried) = (false, false);
                state.looks_at = Some(again);
                self.write_out(state);
                return Some(Some(again.saturating_duration_since(Instant::now())));
            }
            None => {}
        }
        state.looks_at = std::mem::take(&mut state.active).then_some(again);
        Some(state.looks_at.map(|again| again - now))
    }

    /// Waits for the socket, whose readiness it returns, for the eventfd `wake`, a signal or the timeout.
    pub(super) fn wait_readable(&self, wake: &OwnedFd, timeout: Option<Duration>) -> std::io::Result<bool> {
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN), PollFd::new(wake, PollFlags::IN)];
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if fds.iter().any(|descriptor| descriptor.revents().contains(PollFlags::NVAL)) {
            return Err(rustix::io::Errno::BADF.into());
        }
        let (readable, woken) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
        if woken {
            // Empties the counter; there is nothing to learn from its value.
            let _ = rustix::io::read(wake, &mut [0u8; 8]);
        }
        Ok(readable)
    }

    fn lock_incoming(&self) -> MutexGuard<'_, Incoming> {
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads and handles frames unless another thread does.
    pub(super) fn try_receive(&self, reader: Reader) -> Heard {
        let mut incoming = match self.incoming.try_lock() {
            Ok(incoming) => incoming,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Heard::Busy,
        };
        if self.receive(&mut incoming, reader) { Heard::Frames } else { Heard::Broken }
    }

    /// Reads and handles frames; false when no more will come.
    fn receive(&self, incoming: &mut Incoming, reader: Reader) -> bool {
        if self.lock().gone {
            return false;
        }
        let read = match incoming.receive(self.socket.as_fd()) {
            Ok(read) => read,
            Err(error) => {
                self.lose("read from", &error);
                ReadState::Closed
            }
        };
        loop {
            let frame = match incoming.next_frame() {
                Ok(Some((kind, payload))) => ToChild::decode(kind, payload),
                Ok(None) => return read != ReadState::Closed,
                Err(error) => Err(error),
            };
            match frame {
                Ok(frame) => self.handle(frame, reader),
                Err(error) => {
                    log::error!("the main process sent what this child does not understand: {error}");
                    return false;
                }
            }
        }
    }

    fn handle(&self, frame: ToChild, reader: Reader) {
        let mut state = self.lock();
        match frame {
            ToChild::Jobs(jobs) => self.arrived(state, jobs, reader),
            ToChild::Recall(jobs) => {
                let back = state.recall(&jobs);
                state.put_returned(&back);
                self.write_out(state);
            }
            ToChild::SoftLimit(job) => {
                if state.running.contains_key(&job) {
                    state.overdue.push_back(job);
                    if self.signals {
                        signal_main_thread();
                    }
                    self.ring();
                }
            }
            ToChild::Cancel(job, why) => {
                if state.running.contains_key(&job) {
                    state.cancelled.push_back((job, why));
                    self.ring();
                }
            }
            ToChild::Stop => {
                state.stopped = true;
                if !state.waiting.is_empty() {
                    state.give_back();
                }
                self.call_all(&state);
                self.write_out(state);
            }
        }
    }

    fn arrived(&self, mut state: MutexGuard<'_, State>, jobs: Vec<Job>, reader: Reader) {
        if state.retiring || state.stopped {
            let jobs: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
            state.put_returned(&jobs);
            self.write_out(state);
            return;
        }
        let (count, now) = (jobs.len(), Instant::now());
        state.waiting.extend(jobs.into_iter().map(|job| (now, job)));
        match reader {
            // They are about to be reported as started: this thread is awake and can promise to look.
            Reader::LinkThread => {
                (state.looks_at, state.active) = (Some(now), true);
                self.call_some(&state, count);
            }
            // One of them is its own.
            Reader::Executor => self.call_some(&state, count.saturating_sub(1).min(state.sleepers)),
        }
    }
}

/// Who reads frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    LinkThread,
    /// One that had nothing to do.
    Executor,
}

/// What came of listening.
pub(super) enum Heard {
    /// Whatever there was has been dealt with.
    Frames,
    /// Another thread is reading.
    Busy,
    /// No more will come.
    Broken,
}

/// However the link thread ends, nobody must wait for it.
struct LastWords<'a>(&'a Shared);

impl Drop for LastWords<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        self.0.set_gone(&mut state);
    }
}

/// Sends SIGUSR1 to the main thread, unless its default action, which is to end the process, is in force.
fn signal_main_thread() {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: a null new action only asks; `action` is valid for writes and read only when the call succeeded. tgkill
    // takes plain numbers; the main thread's id is the process's.
    unsafe {
        let asked = libc::sigaction(libc::SIGUSR1, std::ptr::null(), action.as_mut_ptr());
        if asked == 0 && action.assume_init().sa_sigaction != libc::SIG_DFL {
            let process = libc::getpid();
            libc::syscall(libc::SYS_tgkill, process, process, libc::SIGUSR1);
        }
    }
}
