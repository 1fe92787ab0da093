//! Slots of the in-process engine.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use umbel_protocol::Timestamp;

use super::state::State;
use crate::broker::Tag;
use crate::slots::{GivenUp, KEPT_FOR, LONGEST_WAIT, Slot, to_wake};

/// The slots of one name.
#[derive(Default)]
struct Limit {
    limit: u32,
    /// Tags with their workers.
    taken: BTreeSet<(String, Tag)>,
    /// Messages that were woken, and until when a slot is kept for them.
    woken: BTreeMap<String, Timestamp>,
    /// Delayed messages that wait, the first to come first.
    waiting: VecDeque<(Timestamp, u64)>,
}

impl Limit {
    /// Slots that are taken or kept, but for those of one message.
    fn used(&self, tag: Option<&Tag>, id: &str) -> usize {
        let taken = self.taken.iter().filter(|(_, other)| Some(other) != tag).count();
        taken + self.woken.keys().filter(|other| *other != id).count()
    }

    /// Whether a message may enter: one that has its slot or was woken for it, or one before which nobody waits.
    fn admits(&self, most: u32, tag: &Tag, id: &str) -> bool {
        let is_next = self.waiting.is_empty() || self.woken.contains_key(id);
        self.taken.iter().any(|(_, other)| other == tag) || (is_next && self.used(Some(tag), id) < most as usize)
    }
}

/// Slots by name.
#[derive(Default)]
pub(super) struct Slots(BTreeMap<String, Limit>);

impl State {
    /// Takes slots for a held message, or lets it wait. True if it has entered.
    pub(super) fn enter(&mut self, tag: &Tag, slots: &[Slot], now: Timestamp) -> bool {
        let Some((worker, id)) = self.holder(tag) else { return false };
        for slot in slots {
            let limit = self.slots.0.entry(slot.name.clone()).or_default();
            limit.limit = slot.limit;
            limit.woken.retain(|_, until| *until > now);
        }
        let admits = |slot: &&Slot| self.slots.0[&slot.name].admits(slot.limit, tag, &id);
        let full = slots.iter().find(|slot| !admits(slot)).map(|slot| slot.name.clone());
        let place = if full.is_some() { self.set_aside(tag, now.after(LONGEST_WAIT)) } else { None };
        for slot in slots {
            let limit = self.slots.0.entry(slot.name.clone()).or_default();
            let was_woken = limit.woken.remove(&id).is_some();
            match (&full, place) {
                (None, _) => {
                    limit.taken.insert((worker.clone(), tag.clone()));
                }
                (Some(full), Some(place)) if *full == slot.name && was_woken => limit.waiting.push_front(place),
                (Some(full), Some(place)) if *full == slot.name => limit.waiting.push_back(place),
                (Some(_), _) => {}
            }
        }
        // It may have been woken for one that somebody else can have.
        if full.is_some() {
            slots.iter().for_each(|slot| self.wake_next(&slot.name, now));
        }
        full.is_none()
    }

    pub(super) fn give_up_slots(&mut self, gives_up: &[GivenUp], now: Timestamp) {
        for given in gives_up {
            let GivenUp::Slot { slot, holder } = given else { continue };
            let id = self.holder(holder).map(|(_, id)| id);
            if let Some(limit) = self.slots.0.get_mut(&slot.name) {
                limit.limit = slot.limit;
                limit.taken.retain(|(_, tag)| tag != holder);
                id.and_then(|id| limit.woken.remove(&id));
                self.wake_next(&slot.name, now);
            }
        }
    }

    /// The slots of a worker that is gone.
    pub(super) fn vacate(&mut self, worker: &str, now: Timestamp) {
        let names: Vec<String> = self.slots.0.keys().cloned().collect();
        for name in names {
            let Some(limit) = self.slots.0.get_mut(&name) else { continue };
            let before = limit.taken.len();
            limit.taken.retain(|(holder, _)| holder != worker);
            for _ in limit.taken.len()..before {
                self.wake_next(&name, now);
            }
        }
    }

    /// Wakes those that wait although slots are free.
    pub(super) fn look_after_slots(&mut self, now: Timestamp) {
        let mut names = Vec::new();
        for (name, limit) in &mut self.slots.0 {
            limit.woken.retain(|_, until| *until > now);
            let used = u32::try_from(limit.used(None, "")).unwrap_or(u32::MAX);
            names.push((name.clone(), to_wake(limit.limit, used)));
        }
        names.into_iter().for_each(|(name, count)| self.wake(&name, count, now));
        self.slots.0.retain(|_, limit| limit.used(None, "") > 0 || !limit.waiting.is_empty());
    }

    /// Wakes the next that waits, if there is a slot for it.
    fn wake_next(&mut self, name: &str, now: Timestamp) {
        if self.slots.0.get(name).is_some_and(|limit| limit.used(None, "") < limit.limit as usize) {
            self.wake(name, 1, now);
        }
    }

    /// Moves messages that wait to the fronts of their queues, those that wait longest in front.
    fn wake(&mut self, name: &str, count: u32, now: Timestamp) {
        let mut woken = Vec::new();
        while woken.len() < count as usize
            && let Some(place) = self.slots.0.get_mut(name).and_then(|limit| limit.waiting.pop_front())
        {
            woken.extend(self.take_delayed(place));
        }
        for (queue, entry) in woken.into_iter().rev() {
            if let Some(limit) = self.slots.0.get_mut(name) {
                limit.woken.insert(entry.id().to_owned(), now.after(KEPT_FOR));
            }
            self.push_front(&queue, entry);
        }
    }
}
