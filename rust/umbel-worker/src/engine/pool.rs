//! The children: who lives, who is wanted, what each has been given.

use std::collections::{BTreeMap, VecDeque};

use super::input::ChildId;
use super::job::JobId;
use super::output::Output;
use super::steady::{Micros, Now};

/// Work to hand to a child beyond what runs there: more than it does between two reports (20 ms under load).
const WORK_AHEAD: Micros = 40_000;

/// A child is topped up when its work has fallen below this.
const LOW_WATER: Micros = WORK_AHEAD / 2;

/// Jobs at a child at most, for each of its slots.
const DEEPEST: usize = 256;

/// Wait before the first delayed spawn; doubles with each further failure.
const FIRST_PAUSE: Micros = 100_000;

/// Longest wait between spawns.
const LONGEST_PAUSE: Micros = 10_000_000;

/// How long a child that was told to end and runs nothing may take to do so.
const TIME_TO_LEAVE: Micros = 10_000_000;

/// What a child may be asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Takes jobs.
    Active,
    /// Told to end once its running jobs are done, at that moment.
    Leaving { since: Micros },
    /// Told to die.
    Killed(Cause),
}

/// Why a child was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// This job's hard time limit.
    Limit(JobId),
    /// The worker ends.
    Shutdown,
    /// It was told to end, had nothing left to run, and did not.
    Overdue,
    /// A job of it was revoked.
    Revoked,
}

/// One child.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) slots: usize,
    pub(super) killable: bool,
    pub(super) state: State,
    /// Sent, not known to have started; in order.
    pub(super) queued: VecDeque<JobId>,
    pub(super) running: Vec<JobId>,
    /// How many of these need no slot of their own: they run with another.
    pub(super) companions: usize,
    /// Predicted time of everything it has.
    pub(super) load: Micros,
    /// When it last started or finished a job, or was given one while it had none.
    pub(super) active_at: Micros,
    /// Whether it has finished a job.
    pub(super) proven: bool,
    /// It takes jobs until its replacement is ready.
    pub(super) wants_relief: bool,
    /// It was sent a signal that should end it, for a job that runs there.
    pub(super) signalled: bool,
}

impl Child {
    /// Jobs it has.
    pub(super) fn assigned(&self) -> usize {
        self.queued.len() + self.running.len()
    }

    /// Whether a slot is free.
    pub(super) fn is_idle(&self) -> bool {
        self.takes_jobs() && self.assigned() < self.slots + self.companions
    }

    /// Whether it may be given jobs.
    fn takes_jobs(&self) -> bool {
        self.state == State::Active && !self.signalled
    }

    /// Whether its death would be our doing.
    pub(super) fn is_doomed(&self) -> bool {
        self.signalled || matches!(self.state, State::Killed(_))
    }

    /// How long nothing has moved there although it has jobs.
    pub(super) fn stalled_for(&self, now: Now) -> Micros {
        if self.assigned() == 0 { 0 } else { now.steady - self.active_at }
    }

    /// Whether to top it up.
    pub(super) fn wants_jobs(&self, now: Now) -> bool {
        self.is_idle()
            || (self.has_room(now) && self.load < self.budget(LOW_WATER) && self.assigned() <= self.slots * DEEPEST / 2)
    }

    /// Whether one more job would not make it wait long there.
    pub(super) fn has_room(&self, now: Now) -> bool {
        self.is_idle()
            || (self.takes_jobs()
                && self.load < self.budget(WORK_AHEAD)
                && self.assigned() < self.slots.saturating_mul(DEEPEST)
                && self.stalled_for(now) < WORK_AHEAD)
    }

    fn budget(&self, each: Micros) -> Micros {
        each.saturating_mul(Micros::try_from(self.slots).unwrap_or(Micros::MAX))
    }
}

impl Child {
    /// When it should be gone, if it was told to and has nothing left to run.
    pub(super) fn overdue_at(&self) -> Option<Micros> {
        match self.state {
            State::Leaving { since } if self.running.is_empty() => Some(since.max(self.active_at) + TIME_TO_LEAVE),
            _ => None,
        }
    }
}

/// The predicted time of a job never measured: it fills a slot, so that nothing is queued behind it.
pub(super) const UNKNOWN: Micros = WORK_AHEAD;

/// All children.
#[derive(Debug, Default)]
pub(super) struct Pool {
    children: BTreeMap<ChildId, Child>,
    wanted: usize,
    /// Spawned, not ready yet.
    pending: usize,
    /// Children in a row that ended without having finished a job.
    failures: u32,
    spawn_after: Option<Micros>,
    /// Slots of active children.
    slots: usize,
}

impl Pool {
    /// All children, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ChildId, &Child)> {
        self.children.iter().map(|(&id, child)| (id, child))
    }

    /// One child, unless it is gone.
    pub(super) fn get(&self, id: ChildId) -> Option<&Child> {
        self.children.get(&id)
    }

    /// One child, unless it is gone.
    pub(super) fn get_mut(&mut self, id: ChildId) -> Option<&mut Child> {
        self.children.get_mut(&id)
    }

    /// Slots of children that take jobs.
    pub(super) fn slots(&self) -> usize {
        self.slots
    }

    /// Children that are there.
    pub(super) fn len(&self) -> usize {
        self.children.len()
    }

    /// Children that were asked for and have not come.
    pub(super) fn pending(&self) -> usize {
        self.pending
    }

    /// How many children there should be.
    pub(super) fn resize(&mut self, wanted: usize) {
        self.wanted = wanted;
    }

    /// A child is ready. True if it is more than was asked for.
    pub(super) fn ready(&mut self, id: ChildId, slots: usize, killable: bool, now: Now) -> bool {
        self.pending = self.pending.saturating_sub(1);
        let slots = slots.max(1);
        let child = Child {
            slots,
            killable,
            state: State::Active,
            queued: VecDeque::new(),
            running: Vec::new(),
            companions: 0,
            load: 0,
            active_at: now.steady,
            proven: false,
            wants_relief: false,
            signalled: false,
        };
        if self.children.insert(id, child).is_none() {
            self.slots += slots;
        }
        self.active() > self.wanted
    }

    /// A child finished a job: spawning works.
    pub(super) fn prove(&mut self, id: ChildId) {
        if let Some(child) = self.children.get_mut(&id).filter(|child| !child.proven) {
            child.proven = true;
            self.failures = 0;
        }
    }

    /// A child is gone; `None` if it never was ready.
    pub(super) fn remove(&mut self, id: ChildId, now: Now) -> Option<Child> {
        let child = self.children.remove(&id);
        match &child {
            None => self.pending = self.pending.saturating_sub(1),
            Some(child) if child.state == State::Active => self.slots -= child.slots,
            Some(_) => {}
        }
        if child.as_ref().is_none_or(|child| !child.proven && child.state == State::Active && !child.signalled) {
            self.failed(now);
        }
        child
    }

    /// Forgets a child that was left to itself.
    pub(super) fn forget(&mut self, id: ChildId) -> Option<Child> {
        let child = self.children.remove(&id)?;
        if child.state == State::Active {
            self.slots -= child.slots;
        }
        Some(child)
    }

    /// A pool's worth of failures is free, so that a kill of all idle children is made good at once; an app that
    /// dies at import must not spin.
    fn failed(&mut self, now: Now) {
        self.failures = self.failures.saturating_add(1);
        let free = u32::try_from(self.wanted.saturating_mul(2)).unwrap_or(u32::MAX);
        if let Some(doublings) = self.failures.checked_sub(free.saturating_add(1)) {
            let pause = FIRST_PAUSE.saturating_mul(1 << doublings.min(10)).min(LONGEST_PAUSE);
            self.spawn_after = Some(now.steady + pause);
        }
    }

    /// Children that take jobs, without those about to be replaced.
    fn active(&self) -> usize {
        self.children.values().filter(|child| child.state == State::Active && !child.wants_relief).count()
    }

    /// A child is to be replaced, and takes jobs until then.
    pub(super) fn want_relief(&mut self, id: ChildId) {
        if let Some(child) = self.children.get_mut(&id) {
            child.wants_relief = true;
        }
    }

    /// A child that can go now, for another has come.
    pub(super) fn to_be_relieved(&self) -> Option<ChildId> {
        let waits = |child: &Child| child.state == State::Active && child.wants_relief;
        self.children.iter().find(|(_, child)| waits(child)).map(|(&id, _)| id)
    }

    /// Asks for missing children. Returns when to look again if it is too early.
    pub(super) fn spawn_missing(&mut self, now: Now, out: &mut Vec<Output>) -> Option<Micros> {
        let count = self.wanted.saturating_sub(self.present());
        if count == 0 {
            return None;
        }
        if let Some(at) = self.spawn_after.filter(|&at| at > now.steady) {
            return Some(at);
        }
        self.spawn_after = None;
        self.pending += count;
        out.push(Output::Spawn { count });
        None
    }

    /// Children that count against the wanted number: a killed one until it is gone, a leaving one not, for its
    /// replacement comes first.
    fn present(&self) -> usize {
        let counts = |child: &Child| match child.state {
            State::Active => !child.wants_relief,
            State::Leaving { .. } => false,
            State::Killed(_) => true,
        };
        self.children.values().filter(|child| counts(child)).count() + self.pending
    }

    /// Children to let go: those about to be replaced first, then those with the fewest jobs.
    pub(super) fn surplus(&self) -> Vec<ChildId> {
        let mut active: Vec<(bool, usize, ChildId)> = self
            .children
            .iter()
            .filter(|(_, child)| child.state == State::Active)
            .map(|(&id, child)| (!child.wants_relief, child.assigned(), id))
            .collect();
        let count = active.len().saturating_sub(self.wanted);
        active.sort_unstable();
        active.truncate(count);
        active.into_iter().map(|(.., id)| id).collect()
    }

    /// A child takes no more jobs. False if it did not anyway.
    pub(super) fn leave(&mut self, id: ChildId, now: Now) -> bool {
        match self.children.get_mut(&id) {
            Some(child) if child.state == State::Active => {
                self.slots -= child.slots;
                child.state = State::Leaving { since: now.steady };
                true
            }
            _ => false,
        }
    }

    /// Tells a child to end once its running jobs are done, unless it was told before.
    pub(super) fn stop(&mut self, id: ChildId, now: Now, out: &mut Vec<Output>) {
        if self.leave(id, now) {
            out.push(Output::StopChild { child: id });
        }
    }

    /// Kills a child's process, once; what cannot be killed is left alone.
    pub(super) fn kill(&mut self, id: ChildId, cause: Cause, out: &mut Vec<Output>) {
        let Some(child) = self.children.get_mut(&id) else { return };
        if !child.killable || matches!(child.state, State::Killed(_)) {
            return;
        }
        if child.state == State::Active {
            self.slots -= child.slots;
        }
        child.state = State::Killed(cause);
        out.push(Output::Kill { child: id });
    }

    /// The child to give jobs to, and how many of `waiting` are its fair share: the least loaded of those that
    /// want some, so that idle ones come first.
    pub(super) fn neediest(&self, waiting: usize, now: Now) -> Option<(ChildId, usize)> {
        let mut needy = 0;
        let mut best: Option<(bool, Micros, usize, ChildId)> = None;
        for (&id, child) in &self.children {
            if !child.wants_jobs(now) {
                continue;
            }
            needy += 1;
            let slots = Micros::try_from(child.slots).unwrap_or(Micros::MAX);
            let rank = (!child.is_idle(), child.load / slots, child.assigned(), id);
            if best.is_none_or(|best| rank < best) {
                best = Some(rank);
            }
        }
        best.map(|(.., id)| (id, waiting.div_ceil(needy)))
    }
}
