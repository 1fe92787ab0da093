//! Slots in the model broker, and the law of concurrency limits: never more at once than the limit says, and none is kept
//! by a worker that is done.

use std::collections::{BTreeMap, VecDeque};

use umbel_broker::{GivenUp, Slot, Tag};

use super::broker::{Broker, Place, Reply};
use super::counts::Happening;
use super::world::World;

/// How long a slot is kept for a message that was woken, µs.
const KEPT_FOR: i64 = 30_000_000;

/// The slots of one name.
#[derive(Debug, Default)]
pub(super) struct Limit {
    limit: u32,
    taken: Vec<(usize, Tag)>,
    /// Messages for which a slot is kept, and until when.
    woken: BTreeMap<usize, i64>,
    waiting: VecDeque<usize>,
}

/// Slots by name.
pub(super) type Slots = BTreeMap<String, Limit>;

impl Limit {
    /// Slots taken or kept, but for those of one message.
    fn used(&self, tag: Option<&Tag>, message: usize) -> usize {
        let taken = self.taken.iter().filter(|(_, other)| Some(other) != tag).count();
        taken + self.woken.keys().filter(|other| **other != message).count()
    }

    fn admits(&self, tag: &Tag, message: usize) -> bool {
        let is_next = self.waiting.is_empty() || self.woken.contains_key(&message);
        let has_one = self.taken.iter().any(|(_, other)| other == tag);
        has_one || (is_next && self.used(Some(tag), message) < self.limit as usize)
    }
}

impl Broker {
    /// Takes slots for a held message, or lets it wait; `None` if it is not held.
    fn enter(&mut self, worker: usize, tag: &Tag, slots: &[Slot]) -> Option<bool> {
        let message = self.of(tag).filter(|_| self.holds(tag))?;
        for slot in slots {
            let limit = self.slots.entry(slot.name.clone()).or_default();
            limit.limit = slot.limit;
            limit.woken.retain(|_, until| *until > self.now);
        }
        let full = slots.iter().find(|slot| !self.slots[&slot.name].admits(tag, message));
        let full = full.map(|slot| slot.name.clone());
        for slot in slots {
            let Some(limit) = self.slots.get_mut(&slot.name) else { continue };
            let was_woken = limit.woken.remove(&message).is_some();
            match &full {
                Some(full) if *full == slot.name && was_woken => limit.waiting.push_front(message),
                Some(full) if *full == slot.name => limit.waiting.push_back(message),
                None if !limit.taken.contains(&(worker, tag.clone())) => limit.taken.push((worker, tag.clone())),
                _ => {}
            }
        }
        if full.is_some() {
            self.stored[message].place = Place::Waiting;
            slots.iter().for_each(|slot| self.wake_next(&slot.name));
        }
        Some(full.is_none())
    }

    fn give_up(&mut self, slot: &Slot, holder: &Tag) {
        let message = self.of(holder).filter(|_| self.holds(holder));
        if let Some(limit) = self.slots.get_mut(&slot.name) {
            limit.taken.retain(|(_, tag)| tag != holder);
            message.and_then(|message| limit.woken.remove(&message));
            self.wake_next(&slot.name);
        }
    }

    fn wake_next(&mut self, name: &str) {
        if self.slots.get(name).is_some_and(|limit| limit.used(None, usize::MAX) < limit.limit as usize) {
            self.wake(name);
        }
    }

    fn wake(&mut self, name: &str) {
        let until = self.now + KEPT_FOR;
        let Some(limit) = self.slots.get_mut(name) else { return };
        if let Some(message) = limit.waiting.pop_front() {
            limit.woken.insert(message, until);
            self.put_back(message, true);
        }
    }

    /// The slots of a worker that is gone.
    pub(super) fn vacate(&mut self, worker: usize) {
        let names: Vec<String> = self.slots.keys().cloned().collect();
        for name in names {
            let Some(limit) = self.slots.get_mut(&name) else { continue };
            let before = limit.taken.len();
            limit.taken.retain(|(holder, _)| *holder != worker);
            for _ in limit.taken.len()..before {
                self.wake_next(&name);
            }
        }
    }

    /// Brings back those that wait although slots are free; says whether there were any.
    pub(super) fn look_after_slots(&mut self) -> bool {
        let mut names = Vec::new();
        for (name, limit) in &mut self.slots {
            limit.woken.retain(|_, until| *until > self.now);
            let free = (limit.limit as usize).saturating_sub(limit.used(None, usize::MAX)).min(limit.waiting.len());
            names.extend(std::iter::repeat_n(name.clone(), free));
        }
        names.iter().for_each(|name| self.wake(name));
        !names.is_empty()
    }

    fn has_slots(&self, worker: usize) -> bool {
        self.slots.values().any(|limit| limit.taken.iter().any(|(holder, _)| *holder == worker))
    }
}

impl World {
    /// A job asks for its slots.
    pub(super) fn enter(&mut self, worker: usize, tag: &Tag, slots: &[Slot], told: &mut Reply) {
        match self.broker.enter(worker, tag, slots) {
            None => told.lost.push(tag.clone()),
            Some(true) => told.entered.push(tag.clone()),
            Some(false) => {
                self.count(Happening::WaitedForSlot);
                self.ring();
            }
        }
    }

    pub(super) fn give_up(&mut self, gives_up: &[GivenUp]) {
        for given in gives_up {
            if let GivenUp::Slot { slot, holder } = given {
                self.broker.give_up(slot, holder);
                self.ring();
            }
        }
    }

    /// A run of `task` begins at a worker: no more than its limit are on their way. One whose lease ran out runs beside
    /// those that were given its slots, and so may the threads of a process that is about to end.
    pub(super) fn check_slots(&mut self, task: &'static str) {
        let Some(most) = super::plan::options(task).concurrency_limit else { return };
        let counts = |worker: usize| {
            let state = &self.workers[worker];
            state.is_alive && !self.broker.lapsed.contains(&worker) && (state.is_killable || state.shutdown.is_none())
        };
        let running = self.runs.iter().filter(|run| {
            !run.is_over && !run.child_died && counts(run.worker) && self.broker.stored[run.message].plan.task == task
        });
        let running = running.count();
        if running > most as usize {
            self.violated(format!("{running} of {task} run at a time, and the limit is {most}"));
        }
    }

    /// A worker that has settled everything keeps no slot.
    pub(super) fn check_slots_left(&mut self, worker: usize) {
        if self.workers[worker].has_settled && self.workers[worker].is_in_touch() && self.broker.has_slots(worker) {
            self.violated(format!("w{worker} stopped with slots that it has not given up"));
        }
    }
}
