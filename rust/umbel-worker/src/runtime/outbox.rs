//! What the engine wants from the broker, collected while the broker thread is busy.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::EventfdFlags;
use umbel_broker::sync::{Condvar, Mutex};
use umbel_broker::{Settlement, Tag};

/// Settlements per exchange at most: an exchange should not take much longer than a round trip.
const LARGEST: usize = 1024;

/// A parked fetch is tried this often even if nothing rang.
const SAFETY_NET: Duration = Duration::from_secs(5);

/// Work for the broker thread, merged until it takes it.
#[derive(Debug)]
pub(super) struct Outbox {
    state: Mutex<State>,
    changed: Condvar,
    /// Readable when something changed while the broker thread listens for messages.
    waker: OwnedFd,
}

#[derive(Debug, Default)]
struct State {
    settlements: Vec<Settlement>,
    /// An emptied buffer, to be filled next.
    spare: Vec<Settlement>,
    fetch: Option<usize>,
    /// A fetch that found nothing, and when it is to be tried again at the latest. The engine waits for its answer.
    parked: Option<(usize, Instant)>,
    /// The bell rang since work was last taken.
    rang: bool,
    /// No fetch is to be parked any more.
    unparked: bool,
    /// The broker thread waits at its connection and at the waker.
    listening: bool,
    /// The engine's answer to a lost connection.
    held: Option<Vec<Tag>>,
    stopping: bool,
}

/// Work for one exchange.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) settlements: Vec<Settlement>,
    pub(super) fetch: Option<usize>,
}

/// The worker ends: no more work will come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stopping;

impl Outbox {
    pub(super) fn new() -> io::Result<Self> {
        let waker = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { state: Mutex::default(), changed: Condvar::default(), waker })
    }

    /// Adds work and wakes the broker thread if it waits.
    pub(super) fn add(&self, settlements: &mut Vec<Settlement>, fetch: Option<usize>) {
        if settlements.is_empty() && fetch.is_none() {
            return;
        }
        let mut state = self.state.lock();
        state.settlements.append(settlements);
        state.fetch = fetch.or(state.fetch);
        self.wake(&state);
    }

    /// Forgets all work, which the engine will give out again, and answers with the tags it holds.
    pub(super) fn reset(&self, held: Vec<Tag>) {
        let mut state = self.state.lock();
        state.settlements.clear();
        (state.fetch, state.parked) = (None, None);
        state.held = Some(held);
        self.wake(&state);
    }

    /// Keeps a fetch that found nothing until the bell rings or there is other work: the broker thread then tries it
    /// again without asking the engine, which saves what rings a hand-over. False if the engine is to have its answer.
    pub(super) fn park(&self, want: usize) -> bool {
        let mut state = self.state.lock();
        if state.unparked {
            return false;
        }
        if std::mem::take(&mut state.rang) {
            state.fetch = Some(want);
        } else {
            state.parked = Some((want, Instant::now() + SAFETY_NET));
        }
        true
    }

    /// Parks no more. Returns the fetch that was parked, which the engine is to be answered.
    pub(super) fn unpark(&self) -> Option<usize> {
        let mut state = self.state.lock();
        state.unparked = true;
        state.parked.take().map(|(want, _)| want)
    }

    /// There may be messages. True if a parked fetch will find out.
    pub(super) fn ring(&self) -> bool {
        let mut state = self.state.lock();
        state.rang = true;
        if state.parked.is_some() {
            self.wake(&state);
        }
        state.parked.is_some()
    }

    /// No more work will come.
    pub(super) fn stop(&self) {
        let mut state = self.state.lock();
        state.stopping = true;
        self.wake(&state);
    }

    fn wake(&self, state: &State) {
        if state.listening {
            // Fails only when the counter is full, and then it is readable anyway.
            let _ = rustix::io::write(&self.waker, &1u64.to_ne_bytes());
        } else {
            self.changed.notify_one();
        }
    }

    /// Waits for work until `deadline`; work left when the worker ends is still handed out. `None` at the deadline.
    pub(super) fn take(&self, deadline: Instant) -> Result<Option<Work>, Stopping> {
        let mut state = self.state.lock();
        loop {
            if state.has_work() {
                return Ok(Some(state.take()));
            }
            if state.stopping {
                return Err(Stopping);
            }
            let again = state.parked.map_or(deadline, |(_, again)| again.min(deadline));
            (state, _) = self.changed.wait_until(state, again);
            if Instant::now() >= deadline {
                return Ok(None);
            }
        }
    }

    /// Runs `listen`, which is to end by `deadline` or when the descriptor it is given is readable, unless there is work
    /// or the worker ends. `None` if it was not run.
    pub(super) fn listening<T>(
        &self,
        deadline: Instant,
        listen: impl FnOnce(Duration, BorrowedFd<'_>) -> T,
    ) -> Option<T> {
        let mut state = self.state.lock();
        if state.has_work() || state.stopping {
            return None;
        }
        state.listening = true;
        let until = state.parked.map_or(deadline, |(_, again)| again.min(deadline));
        drop(state);
        let heard = listen(until.saturating_duration_since(Instant::now()), self.waker.as_fd());
        self.state.lock().listening = false;
        // Empties the counter; there is nothing to learn from its value.
        let _ = rustix::io::read(&self.waker, &mut [0u8; 8]);
        Some(heard)
    }

    /// Takes back the buffer of work that is done: large ones are dear to allocate anew for each exchange.
    pub(super) fn recycle(&self, mut settlements: Vec<Settlement>) {
        settlements.clear();
        self.state.lock().spare = settlements;
    }

    /// Waits until `deadline`, or until the worker ends.
    pub(super) fn rest(&self, deadline: Instant) -> Result<(), Stopping> {
        let mut state = self.state.lock();
        while !state.stopping {
            let rested;
            (state, rested) = self.changed.wait_until(state, deadline);
            if rested {
                return Ok(());
            }
        }
        Err(Stopping)
    }

    /// Waits for the engine's answer to a lost connection.
    pub(super) fn held(&self) -> Result<Vec<Tag>, Stopping> {
        let mut state = self.state.lock();
        loop {
            if let Some(held) = state.held.take() {
                return Ok(held);
            }
            if state.stopping {
                return Err(Stopping);
            }
            state = self.changed.wait(state);
        }
    }
}

impl State {
    fn has_work(&self) -> bool {
        let try_again = |(_, again): (usize, Instant)| self.rang || again <= Instant::now();
        !self.settlements.is_empty() || self.fetch.is_some() || (!self.stopping && self.parked.is_some_and(try_again))
    }

    fn take(&mut self) -> Work {
        self.rang = false;
        let parked = self.parked.take().map(|(want, _)| want);
        let fetch = self.fetch.take().or(parked);
        if self.settlements.len() <= LARGEST {
            let spare = std::mem::take(&mut self.spare);
            return Work { settlements: std::mem::replace(&mut self.settlements, spare), fetch };
        }
        let rest = self.settlements.split_off(LARGEST);
        Work { settlements: std::mem::replace(&mut self.settlements, rest), fetch }
    }
}

#[cfg(test)]
mod tests {
    use umbel_broker::Disposition;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(1)
    }

    fn fetch(outbox: &Outbox) -> Option<usize> {
        outbox.take(soon()).expect("not stopping").and_then(|work| work.fetch)
    }

    #[test]
    fn a_parked_fetch_is_tried_again_when_the_bell_rings() {
        let outbox = Outbox::new().expect("an eventfd");
        assert!(!outbox.ring(), "nothing is parked: the engine is to hear of it");
        outbox.add(&mut Vec::new(), Some(3));
        assert_eq!(fetch(&outbox), Some(3));
        assert!(outbox.park(3));
        assert_eq!(fetch(&outbox), None, "nothing rang since");
        assert!(outbox.ring());
        assert_eq!(fetch(&outbox), Some(3));
        assert_eq!(fetch(&outbox), None, "it is under way");
    }

    #[test]
    fn a_ring_while_a_fetch_is_under_way_is_not_missed() {
        let outbox = Outbox::new().expect("an eventfd");
        outbox.add(&mut Vec::new(), Some(3));
        assert_eq!(fetch(&outbox), Some(3));
        assert!(!outbox.ring());
        assert!(outbox.park(3));
        assert_eq!(fetch(&outbox), Some(3));
    }

    #[test]
    fn a_parked_fetch_goes_with_other_work() {
        let outbox = Outbox::new().expect("an eventfd");
        assert!(outbox.park(3));
        let settlement = Settlement::of(None, Disposition::Ack);
        outbox.add(&mut vec![settlement], None);
        assert_eq!(fetch(&outbox), Some(3));
    }

    #[test]
    fn who_ends_gets_the_answer_that_was_parked() {
        let outbox = Outbox::new().expect("an eventfd");
        assert!(outbox.park(3));
        assert_eq!(outbox.unpark(), Some(3));
        assert_eq!(outbox.unpark(), None);
        assert!(!outbox.park(3), "and parks no more");
    }

    #[test]
    fn who_listens_is_called_to_work_and_not_kept_from_it() {
        let outbox = Outbox::new().expect("an eventfd");
        let nothing = |timeout: Duration, waker: BorrowedFd<'_>| {
            let mut fds = [rustix::event::PollFd::from_borrowed_fd(waker, rustix::event::PollFlags::IN)];
            let timeout = rustix::event::Timespec::try_from(timeout).expect("a timeout");
            rustix::event::poll(&mut fds, Some(&timeout)).expect("poll") == 1
        };
        assert_eq!(outbox.listening(soon(), nothing), Some(false), "nothing came");
        let called = outbox.listening(Instant::now() + Duration::from_secs(60), |timeout, waker| {
            outbox.add(&mut Vec::new(), Some(3));
            nothing(timeout, waker)
        });
        assert_eq!(called, Some(true));
        assert_eq!(outbox.listening(soon(), nothing), None, "there is work");
        assert_eq!(fetch(&outbox), Some(3));
        assert_eq!(outbox.listening(soon(), nothing), Some(false), "that call was answered");
        outbox.stop();
        assert_eq!(outbox.listening(soon(), nothing), None);
    }

    #[test]
    fn a_lost_connection_forgets_what_was_parked() {
        let outbox = Outbox::new().expect("an eventfd");
        assert!(outbox.park(3));
        outbox.reset(Vec::new());
        assert!(!outbox.ring());
        assert_eq!(fetch(&outbox), None);
    }
}
