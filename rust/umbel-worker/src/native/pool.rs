//! Threads of this process that run jobs with native handlers.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::outcome::Runner;
use crate::link::{ChildLink, LinkError, thread};

/// Threads of this process that serve one link. They end when the worker tells them to, or is gone.
#[derive(Debug)]
pub struct NativePool {
    threads: Vec<JoinHandle<()>>,
}

impl NativePool {
    /// Starts `count` threads and returns the other end of their link, for `Worker::add_child`.
    pub fn start(runner: &Arc<Runner>, count: usize) -> Result<(OwnedFd, Self), LinkError> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).map_err(io::Error::from)?;
        let link = Arc::new(ChildLink::new(theirs, count)?);
        let mut threads = Vec::with_capacity(count);
        for _ in 0..count {
            let (link, runner) = (Arc::clone(&link), Arc::clone(runner));
            threads.push(thread::spawn("umbel-task", move || serve(&link, &runner))?);
        }
        Ok((ours, Self { threads }))
    }

    /// Waits until all threads have ended.
    pub fn join(self) {
        for thread in self.threads {
            // A handler's panic is caught where it happens; nothing else here can panic.
            let _ = thread.join();
        }
    }
}

fn serve(link: &ChildLink, runner: &Runner) {
    while let Some(job) = link.next(None) {
        let mut outcome = runner.run(&job);
        if let Err(error) = link.finish(&outcome) {
            outcome.result = None;
            outcome.verdict = crate::engine::Verdict::Reject(umbel_broker::DeadReason {
                kind: "oversized".into(),
                detail: error.to_string(),
            });
            // Without its record it fits.
            let _ = link.finish(&outcome);
        }
    }
}
