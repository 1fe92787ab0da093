//! The main process's end of one child's link, for an event loop: nothing here blocks.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use umbel_protocol::Malformed;

use super::frame::{self, ToMain};
use super::incoming::{Incoming, ReadState};
use super::outgoing;
use crate::engine::{Cancel, Job, JobId};

/// Reads per call of [`ParentLink::receive`]: one talkative child must not starve the others.
const READS: usize = 4;

/// The main process's end of one child's link.
#[derive(Debug)]
pub struct ParentLink {
    socket: OwnedFd,
    incoming: Incoming,
    out: Vec<u8>,
    /// How much of `out` is written.
    sent: usize,
}

/// Why a link can no longer be used.
#[derive(Debug, thiserror::Error)]
pub enum LinkBroken {
    /// The child closed its end, or died.
    #[error("its link closed")]
    Closed,
    /// The child sent something else than frames of this version.
    #[error("it sent what this worker does not understand ({0})")]
    Malformed(#[from] Malformed),
    /// The operating system's words.
    #[error("its link failed: {0}")]
    Io(#[from] io::Error),
}

impl ParentLink {
    /// Takes over the main process's end of a socket pair.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        outgoing::close_on_exec(socket.as_fd())?;
        Ok(Self { socket, incoming: Incoming::default(), out: Vec::new(), sent: 0 })
    }

    /// Receives what is there and appends the frames to `frames`. `Ok(true)` if more may be there. Frames that came
    /// before an error are appended too.
    pub fn receive(&mut self, frames: &mut Vec<ToMain>) -> Result<bool, LinkBroken> {
        for _ in 0..READS {
            let state = self.incoming.receive(self.socket.as_fd())?;
            while let Some((kind, payload)) = self.incoming.next_frame()? {
                frames.push(ToMain::decode(kind, payload)?);
            }
            match state {
                ReadState::More => {}
                ReadState::Dry => return Ok(false),
                ReadState::Closed => return Err(LinkBroken::Closed),
            }
        }
        Ok(true)
    }

    /// Queues jobs to be written; returns those too large for the link.
    pub fn send_jobs(&mut self, jobs: Vec<Job>) -> Vec<Job> {
        let (jobs, too_large): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(frame::fits);
        frame::put_jobs(&mut self.out, &jobs);
        too_large
    }

    /// Queues a recall of jobs that have not started.
    pub fn send_recall(&mut self, jobs: &[JobId]) {
        frame::put_ids(&mut self.out, frame::RECALL, jobs);
    }

    /// Queues the news that a job's soft limit has passed.
    pub fn send_soft_limit(&mut self, job: JobId) {
        frame::put_ids(&mut self.out, frame::SOFT_LIMIT, &[job]);
    }

    /// Queues the word to cancel a job.
    pub fn send_cancel(&mut self, job: JobId, why: Cancel) {
        frame::put_cancel(&mut self.out, job, why);
    }

    /// Queues the word to end.
    pub fn send_stop(&mut self) {
        frame::put_ids(&mut self.out, frame::STOP, &[]);
    }

    /// Writes what the child takes now. `Ok(true)` when all is written; else wait until the socket is writable.
    pub fn flush(&mut self) -> Result<bool, LinkBroken> {
        while self.sent < self.out.len() {
            match outgoing::send_some(self.socket.as_fd(), &self.out[self.sent..], &[]) {
                Ok(0) => {
                    self.forget_sent();
                    return Ok(false);
                }
                Ok(sent) => self.sent += sent,
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(LinkBroken::Closed),
                Err(error) => return Err(error.into()),
            }
        }
        self.out.clear();
        self.out.shrink_to(4 * frame::BATCH);
        self.sent = 0;
        Ok(true)
    }

    /// Keeps the buffer of a child that is never quite caught up from growing for ever.
    fn forget_sent(&mut self) {
        if self.sent >= frame::BATCH && self.sent > self.out.len() / 2 {
            self.out.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Bytes that wait to be written.
    pub fn unsent(&self) -> usize {
        self.out.len() - self.sent
    }
}

impl AsFd for ParentLink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
