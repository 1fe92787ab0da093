//! Queues, leases and dead letters of the in-process engine: plain data, no lock, no clock.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use umbel_protocol::{ChordStep, Destination, Timestamp, chord};

use super::chords::Chords;
use super::control::Said;
use super::lines::Lines;
use super::locks::Locks;
use super::results::Results;
use super::slots::Slots;
use crate::broker::{DeadReason, Delivery, Disposition, Outgoing, Payload, Settlement, Tag, Waiting};
use crate::error::Result;
use crate::queue::{Bindings, PRIORITY_STEPS, step_index};
use crate::slots::GivenUp;

/// A message in the store.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) payload: Payload,
    pub(super) step: usize,
}

impl Entry {
    pub(super) fn new(payload: Payload) -> Self {
        let step = match &payload {
            Payload::Message(message) => step_index(message.properties.priority),
            Payload::Malformed { .. } => 0,
        };
        Self { payload, step }
    }

    /// What tells it from others.
    pub(super) fn id(&self) -> &str {
        match &self.payload {
            Payload::Message(message) => message.properties.delivery_tag.as_deref().unwrap_or_default(),
            Payload::Malformed { .. } => "",
        }
    }

    /// Marks it as handed out before, counting a failed delivery if it was one.
    fn returned(mut self, failed: bool) -> Self {
        if let Payload::Message(message) = &mut self.payload {
            message.properties.redelivered = true;
            message.properties.failed_deliveries =
                message.properties.failed_deliveries.saturating_add(u32::from(failed));
        }
        self
    }
}

struct Held {
    worker: String,
    queue: Arc<str>,
    entry: Entry,
}

pub(super) struct Dead {
    pub(super) queue: Arc<str>,
    pub(super) reason: DeadReason,
    pub(super) at: Timestamp,
    pub(super) entry: Entry,
}

/// What became of a settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    Done,
    /// Its tag was not held.
    Lost,
    /// Its message is held on, and has its slots.
    Entered,
}

/// A worker's promise to be alive.
pub(super) struct Lease {
    expires: Timestamp,
}

#[derive(Default)]
pub(super) struct State {
    queues: HashMap<Arc<str>, [VecDeque<Entry>; PRIORITY_STEPS.len()]>,
    /// By the order in which they were taken, so that they can go back in that order.
    held: BTreeMap<u64, Held>,
    by_tag: HashMap<Tag, u64>,
    leases: HashMap<String, Lease>,
    delayed: BTreeMap<(Timestamp, u64), (Arc<str>, Entry)>,
    pub(super) dead: BTreeMap<u64, Dead>,
    pub(super) bindings: Bindings,
    pub(super) results: Results,
    pub(super) chords: Chords,
    pub(super) said: Said,
    pub(super) locks: Locks,
    pub(super) slots: Slots,
    pub(super) lines: Lines,
    /// Changes with every message that became delayed.
    pub(super) delays: u64,
    counter: u64,
}

impl State {
    pub(super) fn next_number(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    fn lanes(&mut self, queue: &str) -> &mut [VecDeque<Entry>; PRIORITY_STEPS.len()] {
        if !self.queues.contains_key(queue) {
            self.queues.insert(Arc::from(queue), Default::default());
        }
        self.queues.entry(Arc::from(queue)).or_default()
    }

    pub(super) fn push_back(&mut self, queue: &str, entry: Entry) {
        let step = entry.step;
        self.lanes(queue)[step].push_back(entry);
    }

    pub(super) fn push_front(&mut self, queue: &str, entry: Entry) {
        let step = entry.step;
        self.lanes(queue)[step].push_front(entry);
    }

    pub(super) fn delay(&mut self, queue: Arc<str>, entry: Entry, until: Timestamp) -> (Timestamp, u64) {
        let place = (until, self.next_number());
        self.delays += 1;
        self.delayed.insert(place, (queue, entry));
        place
    }

    /// Delays a held message; says where it is then.
    pub(super) fn set_aside(&mut self, tag: &Tag, until: Timestamp) -> Option<(Timestamp, u64)> {
        let held = self.release(tag)?;
        Some(self.delay(held.queue, held.entry, until))
    }

    /// Takes one delayed message out; `None` when it is there no more.
    pub(super) fn take_delayed(&mut self, place: (Timestamp, u64)) -> Option<(Arc<str>, Entry)> {
        self.delayed.remove(&place)
    }

    /// Brings a delayed message to the back of its queue; false if it is there no more.
    pub(super) fn let_in(&mut self, place: (Timestamp, u64)) -> bool {
        let Some((queue, entry)) = self.delayed.remove(&place) else { return false };
        self.push_back(&queue, entry);
        true
    }

    /// Publishes all or, when one of them is unroutable, none.
    pub(super) fn publish(&mut self, batch: &[Outgoing], now: Timestamp) -> Result<()> {
        let routes = self.routes(batch)?;
        self.publish_routed(batch, routes, now);
        Ok(())
    }

    pub(super) fn routes(&self, batch: &[Outgoing]) -> Result<Vec<Vec<String>>> {
        batch.iter().map(|outgoing| self.bindings.route(&outgoing.destination)).collect()
    }

    fn publish_routed(&mut self, batch: &[Outgoing], routes: Vec<Vec<String>>, now: Timestamp) {
        for (outgoing, queues) in batch.iter().zip(routes) {
            let members = match outgoing.chord.as_deref() {
                None => None,
                Some(ChordStep::Count(part)) => match self.chords.count(part, now, true) {
                    Some(members) => Some(members),
                    None => continue,
                },
                Some(ChordStep::End { group }) => {
                    self.chords.end(group);
                    None
                }
            };
            for queue in queues {
                let mut entry = self.entry_for(outgoing);
                if let (Some(members), Payload::Message(message)) = (&members, &mut entry.payload) {
                    **message = chord::completed(message, members);
                }
                match (outgoing.eta, &outgoing.line) {
                    (Some(eta), _) if eta > now => {
                        self.delay(Arc::from(queue), entry, eta);
                    }
                    (None, Some(line)) => self.stand_in_line(&queue, line, entry, now),
                    _ => self.push_back(&queue, entry),
                }
            }
        }
    }

    fn entry_for(&mut self, outgoing: &Outgoing) -> Entry {
        let mut message = outgoing.message.clone();
        message.properties.destination = outgoing.destination.clone();
        message.properties.delivery_tag = Some(format!("{:016x}", self.next_number()));
        Entry::new(Payload::Message(Box::new(message)))
    }

    /// Settles one delivery; `routes` are those of its follow-up messages.
    pub(super) fn settle(&mut self, settlement: &Settlement, routes: Vec<Vec<String>>, now: Timestamp) -> Settled {
        self.results.write(&settlement.results, now);
        self.give_up_slots(&settlement.gives_up, now);
        self.give_up_places(&settlement.gives_up, now);
        if let Some(tag) = &settlement.tag {
            if !self.is_held(tag) {
                return Settled::Lost;
            }
            if let Disposition::Enter(slots) = &settlement.disposition {
                return if self.enter(tag, slots, now) { Settled::Entered } else { Settled::Done };
            }
            if let Some(held) = self.release(tag) {
                self.dispose(held, &settlement.disposition, now);
            }
        }
        self.publish_routed(&settlement.publish, routes, now);
        for given in &settlement.gives_up {
            if let GivenUp::Lock { name, owner } = given {
                self.locks.release(name, owner);
            }
        }
        Settled::Done
    }

    fn release(&mut self, tag: &Tag) -> Option<Held> {
        let number = self.by_tag.remove(tag)?;
        self.held.remove(&number)
    }

    fn dispose(&mut self, held: Held, disposition: &Disposition, now: Timestamp) {
        match disposition {
            Disposition::Ack => {}
            Disposition::Enter(_) => self.push_front(&held.queue, held.entry),
            Disposition::Requeue { front: true, failed } => self.push_front(&held.queue, held.entry.returned(*failed)),
            Disposition::Requeue { front: false, failed } => self.push_back(&held.queue, held.entry.returned(*failed)),
            Disposition::Delay { until } => {
                self.delay(held.queue, held.entry, *until);
            }
            Disposition::Dead(reason) => {
                let id = self.next_number();
                self.dead.insert(id, Dead { queue: held.queue, reason: reason.clone(), at: now, entry: held.entry });
            }
        }
    }

    /// Takes up to `want` messages for `worker`: by step, then one queue after the other from `first` on.
    pub(super) fn fetch(
        &mut self,
        worker: &str,
        queues: &[Arc<str>],
        first: &mut usize,
        want: usize,
        mut tag: impl FnMut() -> Tag,
    ) -> Vec<Delivery> {
        let mut taken = Vec::new();
        for step in 0..PRIORITY_STEPS.len() {
            let mut empty_in_a_row = 0;
            while taken.len() < want && empty_in_a_row < queues.len() {
                let queue = &queues[*first % queues.len()];
                *first = (*first + 1) % queues.len();
                match self.queues.get_mut(queue).and_then(|lanes| lanes[step].pop_front()) {
                    Some(entry) => {
                        empty_in_a_row = 0;
                        taken.push(self.hold(worker, Arc::clone(queue), entry, tag()));
                    }
                    None => empty_in_a_row += 1,
                }
            }
        }
        taken
    }

    fn hold(&mut self, worker: &str, queue: Arc<str>, entry: Entry, tag: Tag) -> Delivery {
        let number = self.next_number();
        let payload = entry.payload.clone();
        self.by_tag.insert(tag.clone(), number);
        self.held.insert(number, Held { worker: worker.to_owned(), queue: Arc::clone(&queue), entry });
        Delivery { tag, queue, payload }
    }

    pub(super) fn is_held(&self, tag: &Tag) -> bool {
        self.by_tag.contains_key(tag)
    }

    /// The worker that holds a message, and what tells that from others.
    pub(super) fn holder(&self, tag: &Tag) -> Option<(String, String)> {
        self.held.get(self.by_tag.get(tag)?).map(|held| (held.worker.clone(), held.entry.id().to_owned()))
    }

    /// Returns what `worker` holds, except `keep`, to the front of the queues in the order it was taken.
    pub(super) fn give_back(&mut self, worker: &str, keep: &[Tag], failed: bool) -> usize {
        let kept: std::collections::HashSet<&Tag> = keep.iter().collect();
        let mut back: Vec<(u64, Tag)> = self
            .by_tag
            .iter()
            .filter(|(tag, number)| {
                !kept.contains(tag) && self.held.get(number).is_some_and(|held| held.worker == worker)
            })
            .map(|(tag, number)| (*number, tag.clone()))
            .collect();
        back.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
        for (_, tag) in &back {
            if let Some(held) = self.release(tag) {
                self.push_front(&held.queue, held.entry.returned(failed));
            }
        }
        back.len()
    }

    pub(super) fn renew_lease(&mut self, worker: &str, expires: Timestamp) {
        self.leases.insert(worker.to_owned(), Lease { expires });
    }

    pub(super) fn end_lease(&mut self, worker: &str, now: Timestamp) {
        self.leases.remove(worker);
        self.vacate(worker, now);
    }

    /// Takes back the messages of workers that have been silent for too long; says how many.
    pub(super) fn reclaim(&mut self, now: Timestamp) -> usize {
        let dead: Vec<String> =
            self.leases.iter().filter(|(_, lease)| lease.expires <= now).map(|(worker, _)| worker.clone()).collect();
        let mut returned = 0;
        for worker in dead {
            returned += self.give_back(&worker, &[], true);
            self.end_lease(&worker, now);
        }
        returned
    }

    /// Moves delayed messages that are due to their queues.
    pub(super) fn move_due(&mut self, now: Timestamp) {
        while let Some(first) = self.delayed.first_entry() {
            if first.key().0 > now {
                break;
            }
            let (queue, entry) = first.remove();
            self.push_back(&queue, entry);
        }
    }

    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.delayed.first_key_value().map(|((due, _), _)| *due)
    }

    /// True when waiting may end because time passes, not only because something changes.
    pub(super) fn waits_for_clock(&self) -> bool {
        !self.delayed.is_empty()
    }

    pub(super) fn length(&self, queue: &str) -> usize {
        self.queues.get(queue).map_or(0, |lanes| lanes.iter().map(VecDeque::len).sum())
    }

    pub(super) fn peek(&self, queue: &str, limit: usize) -> Vec<Waiting> {
        let ready = self.queues.get(queue).into_iter().flatten().flatten();
        let ready = ready.map(|entry| Waiting { payload: entry.payload.clone(), due: None });
        let delayed = self.delayed.iter().filter(|(_, (at, _))| &**at == queue);
        let delayed = delayed.map(|((due, _), (_, entry))| Waiting { payload: entry.payload.clone(), due: Some(*due) });
        ready.chain(delayed).take(limit).collect()
    }

    pub(super) fn purge(&mut self, queue: &str) -> usize {
        let length = self.length(queue);
        self.queues.remove(queue);
        length
    }

    /// Puts a dead letter back into its queue; false when there is none of that number.
    pub(super) fn replay(&mut self, number: u64) -> bool {
        let Some(mut dead) = self.dead.remove(&number) else { return false };
        if let Payload::Message(message) = &mut dead.entry.payload {
            message.properties.failed_deliveries = 0;
        }
        self.push_back(&dead.queue, dead.entry);
        true
    }

    pub(super) fn bind(&mut self, queue: &str, destination: &Destination, kind: crate::ExchangeKind) -> Result<()> {
        self.bindings.bind(queue, destination, kind)
    }
}
