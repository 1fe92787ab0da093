//! A child's end of the link: jobs in, outcomes out, without Python.
//!
//! 1. The link thread reads frames. Jobs wait in a local queue; executors (one or many threads) take them with
//!    [`ChildLink::next`].
//! 2. What executors report collects in a buffer. Whoever finishes a job while nothing else is waiting writes it out
//!    at once; so does one who finds the buffer large or a millisecond old. Thus a busy child writes once per batch
//!    and an idle one without delay.
//! 3. Whatever is still in the buffer after a millisecond is written by the link thread, which needs no lock that an
//!    executor holds while it runs a task (in particular not the GIL).
//! 4. A recall is answered by the link thread alone.
//!
//! Locks are the standard library's: `parking_lot` keeps sleeping threads in a table of the process, which a fork from
//! a process with threads copies in whatever state it is.
//!
//! The link thread is woken only when the buffer turns non-empty while it sleeps; while there is traffic it looks
//! once a millisecond.

use std::collections::{HashMap, HashSet, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use umbel_protocol::ResultWrite;

use super::frame::{self, ToChild};
use super::incoming::{Incoming, ReadState};
use super::{LinkError, fields, outgoing, thread};
use crate::engine::{Job, JobId, Outcome};

/// How long a report may wait for company.
const LINGER: Duration = Duration::from_millis(1);

/// Buffered bytes at which a report is written at once.
const ENOUGH: usize = 32 << 10;

/// A child's end of the socket to the main process. Many threads may call it.
#[derive(Debug)]
pub struct ChildLink {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    socket: OwnedFd,
    /// Wakes the link thread.
    wake: OwnedFd,
    state: Mutex<State>,
    /// Jobs have arrived, or none will.
    arrivals: Condvar,
    /// A write has ended.
    written: Condvar,
    /// Whether soft limits are told by SIGUSR1.
    signals: bool,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Job>,
    /// Threads that sleep in `next`.
    sleepers: usize,
    running: HashMap<JobId, Job>,
    /// Running jobs whose soft limit has passed and who have not been told.
    overdue: VecDeque<JobId>,

    /// Started and not yet told.
    started: Vec<JobId>,
    /// Encoded frames not yet written; `open` is where its last one starts if that is a `Finished` that may grow.
    out: Vec<u8>,
    open: Option<usize>,
    /// Since when something has been waiting to be written.
    oldest: Option<Instant>,
    /// A thread is writing; it looks again before it stops.
    writing: bool,
    /// Buffers of the last write, for the next.
    spare: (Vec<u8>, Vec<u8>),

    /// The link thread will look at the buffer within `LINGER` by itself.
    armed: bool,
    /// Something was reported since it last looked.
    active: bool,

    retiring: bool,
    stopped: bool,
    /// The main process is gone: nothing can be written.
    gone: bool,
    /// This end is being dropped.
    closing: bool,
}

impl ChildLink {
    /// Takes over `socket`, says that `slots` jobs can run at a time, and starts the link thread.
    ///
    /// With one slot, soft time limits are told by SIGUSR1 to the process's main thread, provided that it has a
    /// handler; see [`ChildLink::soft_limit_job`].
    pub fn new(socket: OwnedFd, slots: usize) -> Result<Self, LinkError> {
        outgoing::close_on_exec(socket.as_fd())?;
        let wake =
            rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(std::io::Error::from)?;
        let shared = Arc::new(Shared {
            socket,
            wake,
            state: Mutex::default(),
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

    /// Reports how a job ended. Written within about a millisecond; never waits unless the main process is slow to
    /// read. `TooLarge` leaves the job running.
    pub fn finish(&self, outcome: &Outcome) -> Result<(), LinkError> {
        check(fields::outcome_size(outcome))?;
        let mut state = self.shared.lock();
        state.running.remove(&outcome.job);
        state.overdue.retain(|job| *job != outcome.job);
        // A start that was not told yet goes without saying.
        if let Some(index) = state.started.iter().rposition(|job| *job == outcome.job) {
            state.started.swap_remove(index);
        }
        state.put_outcome(outcome);
        self.shared.reported(state);
        Ok(())
    }

    /// Stores a record while a job runs, in order with what [`ChildLink::finish`] will store.
    pub fn progress(&self, job: JobId, result: &ResultWrite) -> Result<(), LinkError> {
        check(fields::result_size(result))?;
        let mut state = self.shared.lock();
        state.seal();
        frame::put_progress(&mut state.out, job, result);
        state.since_now();
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
        self.shared.arrivals.notify_all();
        self.shared.write_out(state);
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
        self.shared.lock().closing = true;
        self.shared.wake();
        self.shared.arrivals.notify_all();
        if let Some(thread) = self.thread.take() {
            // The thread reports its own panic, if any, as a lost main process.
            let _ = thread.join();
        }
    }
}

fn check(bytes: usize) -> Result<(), LinkError> {
    let limit = frame::MAX_PAYLOAD;
    if bytes > limit { Err(LinkError::TooLarge { bytes, limit }) } else { Ok(()) }
}

impl State {
    fn has_unsent(&self) -> bool {
        !self.started.is_empty() || !self.out.is_empty()
    }

    fn since_now(&mut self) {
        if self.oldest.is_none() {
            self.oldest = Some(Instant::now());
        }
    }

    /// Ends a `Finished` frame that could have grown.
    fn seal(&mut self) {
        if let Some(start) = self.open.take() {
            frame::close(&mut self.out, start);
        }
    }

    fn put_outcome(&mut self, outcome: &Outcome) {
        if self.open.is_some_and(|start| self.out.len() - start >= frame::BATCH) {
            self.seal();
        }
        if self.open.is_none() {
            self.open = Some(frame::open(&mut self.out, frame::FINISHED));
        }
        fields::put_outcome(&mut self.out, outcome);
        self.since_now();
    }

    /// Reports what waits as returned.
    fn give_back(&mut self) {
        let jobs: Vec<JobId> = self.waiting.drain(..).map(|job| job.id).collect();
        self.put_returned(&jobs);
    }

    fn put_returned(&mut self, jobs: &[JobId]) {
        self.seal();
        frame::put_ids(&mut self.out, frame::RETURNED, jobs);
        self.since_now();
    }

    /// Everything unsent: a frame of what started, which precedes all else, and the other frames.
    fn take_unsent(&mut self) -> (Vec<u8>, Vec<u8>) {
        self.seal();
        let (mut first, mut second) = std::mem::take(&mut self.spare);
        if !self.started.is_empty() {
            frame::put_ids(&mut first, frame::STARTED, &self.started);
            self.started.clear();
        }
        std::mem::swap(&mut self.out, &mut second);
        self.oldest = None;
        (first, second)
    }

    fn keep_spare(&mut self, (mut first, mut second): (Vec<u8>, Vec<u8>)) {
        first.clear();
        second.clear();
        if second.capacity() <= 4 * frame::BATCH {
            self.spare = (first, second);
        }
    }
}

impl Shared {
    /// A thread that panicked left the state as it was between two statements, none of which can break it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self, deadline: Option<Instant>) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.waiting.pop_front() {
                state.started.push(job.id);
                state.since_now();
                self.arm(&mut state);
                state.running.insert(job.id, job.clone());
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

    /// A job has ended: writes now if nothing else would give an occasion soon, else leaves it to later.
    fn reported(&self, mut state: MutexGuard<'_, State>) {
        let due = state.waiting.is_empty()
            || state.out.len() > ENOUGH
            || state.oldest.is_some_and(|oldest| oldest.elapsed() > LINGER);
        if due {
            self.write_out(state);
        } else {
            self.arm(&mut state);
        }
    }

    /// Makes sure that the link thread looks at the buffer within `LINGER`.
    fn arm(&self, state: &mut State) {
        state.active = true;
        if !state.armed {
            state.armed = true;
            self.wake();
        }
    }

    fn wake(&self) {
        // Fails only when the counter is full, and then the thread is awake.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    /// Writes all that is unsent, unless another thread is at it: that one goes on until nothing is left.
    fn write_out<'a>(&'a self, mut state: MutexGuard<'a, State>) {
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

    fn set_gone(&self, state: &mut State) {
        state.gone = true;
        state.stopped = true;
        state.waiting.clear();
        state.started.clear();
        state.out.clear();
        (state.open, state.oldest) = (None, None);
        self.arrivals.notify_all();
        self.written.notify_all();
    }

    /// The link thread.
    fn run(&self) {
        let _last = LastWords(self);
        let mut incoming = Incoming::default();
        while let Some(timeout) = self.look() {
            let readable = match self.wait(timeout) {
                Ok(readable) => readable,
                Err(error) => {
                    log::error!("cannot wait for the main process: {error}");
                    return;
                }
            };
            if readable && !self.receive(&mut incoming) {
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
        let age = state.oldest.map(|oldest| oldest.elapsed());
        match age {
            Some(age) if age < LINGER => return Some(Some(LINGER - age)),
            Some(_) => {
                state.active = false;
                state.armed = true;
                self.write_out(state);
                return Some(Some(LINGER));
            }
            None => {}
        }
        // One more look while there is traffic spares it a wake-up for each batch.
        state.armed = std::mem::take(&mut state.active);
        Some(state.armed.then_some(LINGER))
    }

    fn wait(&self, timeout: Option<Duration>) -> std::io::Result<bool> {
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN), PollFd::new(&self.wake, PollFlags::IN)];
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let (readable, woken) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
        if woken {
            // Empties the counter; there is nothing to learn from its value.
            let _ = rustix::io::read(&self.wake, &mut [0u8; 8]);
        }
        Ok(readable)
    }

    /// Reads and handles frames; false when no more will come.
    fn receive(&self, incoming: &mut Incoming) -> bool {
        let read = match incoming.receive(self.socket.as_fd()) {
            Ok(read) => read,
            Err(error) => {
                log::error!("cannot read from the main process: {error}");
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
                Ok(frame) => self.handle(frame),
                Err(error) => {
                    log::error!("the main process sent what this child does not understand: {error}");
                    return false;
                }
            }
        }
    }

    fn handle(&self, frame: ToChild) {
        let mut state = self.lock();
        match frame {
            ToChild::Jobs(jobs) => self.arrived(state, jobs),
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
                }
            }
            ToChild::Stop => {
                state.stopped = true;
                if !state.waiting.is_empty() {
                    state.give_back();
                }
                self.arrivals.notify_all();
                self.write_out(state);
            }
        }
    }

    fn arrived(&self, mut state: MutexGuard<'_, State>, jobs: Vec<Job>) {
        if state.retiring || state.stopped {
            let jobs: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
            state.put_returned(&jobs);
            self.write_out(state);
            return;
        }
        let wake = jobs.len().min(state.sleepers);
        state.waiting.extend(jobs);
        // They are about to be reported as started: this thread is awake and can promise to look.
        (state.armed, state.active) = (true, true);
        drop(state);
        for _ in 0..wake {
            self.arrivals.notify_one();
        }
    }
}

impl State {
    /// Takes those of `jobs` that have not started out of the queue.
    fn recall(&mut self, jobs: &[JobId]) -> Vec<JobId> {
        let wanted: HashSet<JobId> = jobs.iter().copied().collect();
        let mut back = Vec::new();
        self.waiting.retain(|job| {
            let recalled = wanted.contains(&job.id);
            if recalled {
                back.push(job.id);
            }
            !recalled
        });
        back
    }
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
