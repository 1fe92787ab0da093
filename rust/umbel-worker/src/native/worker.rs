//! A worker whose tasks are native: supervisor and pool in one process.

use std::io;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags};

use super::outcome::Runner;
use super::pool::NativePool;
use super::signals::Signals;
use crate::engine::{ChildId, ShutdownKind};
use crate::link::LinkError;
use crate::runtime::{Worker, WorkerError, WorkerEvent};

/// What [`run`] needs.
pub struct NativeWorker {
    /// The worker, not started.
    pub worker: Worker,
    /// Its handlers.
    pub runner: Arc<Runner>,
    /// Threads to run them on.
    pub concurrency: usize,
}

/// Runs a worker until it is stopped: SIGTERM or SIGINT stop it warm, a second one or SIGQUIT cold. Every event is
/// shown to `watch`. To be called on the main thread before others are started, so that signals come here.
pub fn run(native: NativeWorker, mut watch: impl FnMut(&WorkerEvent)) -> Result<(), WorkerError> {
    let signals = Signals::catch(&[libc::SIGTERM, libc::SIGINT, libc::SIGQUIT])?;
    let mut supervisor = Supervisor { native, pools: Vec::new(), next_child: 0, stops: 0 };
    supervisor.start()?;
    loop {
        wait(&supervisor.native.worker, &signals)?;
        while let Some(signal) = signals.next() {
            supervisor.signalled(signal);
        }
        for event in supervisor.native.worker.drain() {
            watch(&event);
            match event {
                WorkerEvent::Spawn { count } => supervisor.spawn(count)?,
                WorkerEvent::Stopped => {
                    supervisor.native.worker.join();
                    return Ok(());
                }
                _ => {}
            }
        }
    }
}

fn wait(worker: &Worker, signals: &Signals) -> io::Result<()> {
    let events = worker.notifications();
    let mut fds = [PollFd::new(&events, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
    match rustix::event::poll(&mut fds, None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

struct Supervisor {
    native: NativeWorker,
    pools: Vec<NativePool>,
    next_child: u32,
    stops: u32,
}

impl Supervisor {
    fn start(&self) -> Result<(), WorkerError> {
        let NativeWorker { worker, runner, .. } = &self.native;
        worker.set_tasks(runner.registry.task_options());
        worker.set_pool_size(1);
        worker.start()
    }

    fn signalled(&mut self, signal: i32) {
        self.stops += 1;
        let cold = signal == libc::SIGQUIT || self.stops > 1;
        self.native.worker.stop(if cold { ShutdownKind::Cold } else { ShutdownKind::Warm });
    }

    fn spawn(&mut self, count: usize) -> Result<(), WorkerError> {
        let NativeWorker { worker, runner, concurrency } = &self.native;
        for _ in 0..count {
            let started = NativePool::start(runner, *concurrency);
            let (socket, pool) = started.map_err(|error| match error {
                LinkError::Io(error) => error,
                other => io::Error::other(other),
            })?;
            worker.add_child(ChildId(self.next_child), socket, None, *concurrency);
            self.next_child += 1;
            self.pools.push(pool);
        }
        Ok(())
    }
}
