//! Slots of the in-process engine.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use umbel_protocol::Timestamp;

use super::state::State;
use crate::broker::Tag;
use crate::slots::{GivenUp, LONGEST_WAIT, Slot, to_wake};

/// The slots of one name.
#[derive(Default)]
struct Limit {
    limit: u32,
    /// Tags with their workers.
    taken: BTreeSet<(String, Tag)>,
    /// Delayed messages that wait, the first to come first.
    waiting: VecDeque<(Timestamp, u64)>,
}

/// Slots by name.
#[derive(Default)]
pub(super) struct Slots(BTreeMap<String, Limit>);

impl Slots {
    /// The first of `slots` that is not free for `tag`.
    fn full(&self, slots: &[Slot], tag: &Tag) -> Option<String> {
        let is_full = |slot: &&Slot| {
            let taken =
                self.0.get(&slot.name).map(|limit| limit.taken.iter().filter(|(_, other)| other != tag).count());
            taken.unwrap_or(0) >= slot.limit as usize
        };
        slots.iter().find(is_full).map(|slot| slot.name.clone())
    }
}

impl State {
    /// Takes slots for a held message, or lets it wait. True if it has entered.
    pub(super) fn enter(&mut self, tag: &Tag, slots: &[Slot], now: Timestamp) -> bool {
        let Some(worker) = self.holder(tag) else { return false };
        for slot in slots {
            self.slots.0.entry(slot.name.clone()).or_default().limit = slot.limit;
        }
        let Some(full) = self.slots.full(slots, tag) else {
            for slot in slots {
                let limit = self.slots.0.entry(slot.name.clone()).or_default();
                limit.taken.insert((worker.clone(), tag.clone()));
            }
            return true;
        };
        if let Some(place) = self.set_aside(tag, now.after(LONGEST_WAIT)) {
            self.slots.0.entry(full.clone()).or_default().waiting.push_back(place);
        }
        // It may have been woken for one of the others, which somebody else can have.
        slots.iter().filter(|slot| slot.name != full).for_each(|slot| self.wake_next(&slot.name));
        false
    }

    pub(super) fn give_up_slots(&mut self, gives_up: &[GivenUp]) {
        for given in gives_up {
            let GivenUp::Slot { slot, holder } = given else { continue };
            if let Some(limit) = self.slots.0.get_mut(&slot.name) {
                limit.limit = slot.limit;
                limit.taken.retain(|(_, tag)| tag != holder);
                self.wake_next(&slot.name);
            }
        }
    }

    /// The slots of a worker that is gone.
    pub(super) fn vacate(&mut self, worker: &str) {
        let names: Vec<String> = self.slots.0.keys().cloned().collect();
        for name in names {
            let Some(limit) = self.slots.0.get_mut(&name) else { continue };
            let before = limit.taken.len();
            limit.taken.retain(|(holder, _)| holder != worker);
            for _ in limit.taken.len()..before {
                self.wake_next(&name);
            }
        }
    }

    /// Wakes those that wait although slots are free.
    pub(super) fn look_after_slots(&mut self) {
        let free = |limit: &Limit| to_wake(limit.limit, u32::try_from(limit.taken.len()).unwrap_or(u32::MAX));
        let names: Vec<(String, u32)> = self.slots.0.iter().map(|(name, limit)| (name.clone(), free(limit))).collect();
        for (name, count) in names {
            self.wake(&name, count);
        }
        self.slots.0.retain(|_, limit| !limit.taken.is_empty() || !limit.waiting.is_empty());
    }

    /// Wakes the next that waits, if there is a slot for it.
    fn wake_next(&mut self, name: &str) {
        if self.slots.0.get(name).is_some_and(|limit| limit.taken.len() < limit.limit as usize) {
            self.wake(name, 1);
        }
    }

    /// Moves messages that wait to the fronts of their queues, those that wait longest in front.
    fn wake(&mut self, name: &str, count: u32) {
        let mut woken = Vec::new();
        while woken.len() < count as usize
            && let Some(place) = self.slots.0.get_mut(name).and_then(|limit| limit.waiting.pop_front())
        {
            woken.extend(self.take_delayed(place));
        }
        woken.into_iter().rev().for_each(|(queue, entry)| self.push_front(&queue, entry));
    }
}
