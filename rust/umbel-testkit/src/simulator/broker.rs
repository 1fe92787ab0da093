//! The model broker: the contract of `umbel_broker::broker` in its simplest form, with nothing hidden.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use umbel_broker::{Delivery, Disposition, Tag};
use umbel_protocol::{ResultWrite, Timestamp};

use super::plan::Plan;
use super::slots::Slots;

/// Where a message is. Being one value, it is in exactly one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Ready,
    Held {
        worker: usize,
        tag: Tag,
    },
    Delayed {
        until: Timestamp,
    },
    /// For a slot.
    Waiting,
    Dead {
        kind: String,
    },
    Done,
}

/// A message in the broker.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) plan: Arc<Plan>,
    pub(super) place: Place,
    pub(super) failed: u32,
    /// Since when it has been where it is.
    since: i64,
}

/// What an exchange brings back, and when the next delayed message is due.
#[derive(Debug, Default)]
pub(super) struct Reply {
    pub(super) deliveries: Vec<Delivery>,
    pub(super) lost: Vec<Tag>,
    pub(super) entered: Vec<Tag>,
    pub(super) next_due: Option<Timestamp>,
}

/// Queue, leases and result store in one.
#[derive(Debug, Default)]
pub(super) struct Broker {
    pub(super) stored: Vec<Stored>,
    ready: VecDeque<usize>,
    /// Last sign of life of each worker with a lease.
    leases: BTreeMap<usize, i64>,
    /// Which message each tag was ever given to.
    tags: BTreeMap<Tag, usize>,
    /// States written for each task id, in order.
    pub(super) results: BTreeMap<String, Vec<String>>,
    deliveries: usize,
    /// Turns of the rate limit that workers share.
    pub(super) lane: umbel_broker::Lane,
    pub(super) slots: Slots,
    /// Workers whose lease has ever run out.
    pub(super) lapsed: BTreeSet<usize>,
    /// The moment of the call under way.
    pub(super) now: i64,
}

impl Broker {
    /// A new message.
    pub(super) fn publish(&mut self, plan: Arc<Plan>, now: i64) {
        self.ready.push_back(self.stored.len());
        self.stored.push(Stored { plan, place: Place::Ready, failed: 0, since: now });
    }

    /// How long the message longest in the queue has been there.
    pub(super) fn longest_ready(&self, now: i64) -> i64 {
        self.ready.iter().map(|&message| now - self.stored[message].since).max().unwrap_or(0)
    }

    /// A worker comes.
    pub(super) fn open(&mut self, worker: usize, now: i64) {
        self.leases.insert(worker, now);
    }

    /// The message a tag was given to.
    pub(super) fn of(&self, tag: &Tag) -> Option<usize> {
        self.tags.get(tag).copied()
    }

    /// Whether the tag's message is still held under it.
    pub(super) fn holds(&self, tag: &Tag) -> bool {
        self.of(tag)
            .is_some_and(|message| matches!(&self.stored[message].place, Place::Held { tag: held, .. } if held == tag))
    }

    /// Messages held by a worker.
    pub(super) fn held_by(&self, worker: usize) -> impl Iterator<Item = &Tag> {
        self.stored.iter().filter_map(move |stored| match &stored.place {
            Place::Held { worker: holder, tag } if *holder == worker => Some(tag),
            _ => None,
        })
    }

    /// Carries out a settlement's disposition. False if the tag was no longer held.
    pub(super) fn dispose(&mut self, tag: &Tag, disposition: &Disposition) -> bool {
        let Some(message) = self.of(tag).filter(|_| self.holds(tag)) else { return false };
        let stored = &mut self.stored[message];
        match disposition {
            Disposition::Enter(_) => {}
            Disposition::Ack => stored.place = Place::Done,
            Disposition::Delay { until } => stored.place = Place::Delayed { until: *until },
            Disposition::Dead(reason) => stored.place = Place::Dead { kind: reason.kind.clone() },
            Disposition::Requeue { front, failed } => {
                stored.failed += u32::from(*failed);
                self.put_back(message, *front);
            }
        }
        true
    }

    pub(super) fn put_back(&mut self, message: usize, front: bool) {
        self.stored[message].place = Place::Ready;
        self.stored[message].since = self.now;
        if front {
            self.ready.push_front(message);
        } else {
            self.ready.push_back(message);
        }
    }

    /// Stores records; a stored `SUCCESS` is final.
    pub(super) fn store(&mut self, results: &[ResultWrite]) {
        for result in results {
            let states = self.results.entry(result.task_id.clone()).or_default();
            if states.last().is_none_or(|state| state != "SUCCESS") {
                states.push(result.state.clone());
            }
        }
    }

    /// Hands out up to `want` messages.
    pub(super) fn fetch(&mut self, worker: usize, want: usize) -> Vec<Delivery> {
        // One that was silent and asks again is alive: without a lease nobody would look for what it takes.
        self.leases.entry(worker).or_insert(self.now);
        let mut taken = Vec::new();
        while taken.len() < want {
            let Some(message) = self.ready.pop_front() else { break };
            self.deliveries += 1;
            let tag = Tag(Arc::from(format!("w{worker}.{}", self.deliveries)));
            self.tags.insert(tag.clone(), message);
            let stored = &mut self.stored[message];
            stored.place = Place::Held { worker, tag: tag.clone() };
            taken.push(stored.plan.delivery(tag, stored.failed));
        }
        taken
    }

    /// When the next delayed message is due.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.stored
            .iter()
            .filter_map(|stored| if let Place::Delayed { until } = stored.place { Some(until) } else { None })
            .min()
    }

    /// A sign of life of `worker`. Returns the tags whose leases ran out, their messages being ready again, and whether
    /// a delayed message came to be due.
    pub(super) fn heartbeat(&mut self, worker: usize, now: Timestamp, lease: i64) -> (Vec<Tag>, bool) {
        self.leases.insert(worker, now.0);
        let mut moved = false;
        for message in 0..self.stored.len() {
            if matches!(self.stored[message].place, Place::Delayed { until } if until <= now) {
                self.put_back(message, false);
                moved = true;
            }
        }
        let expired: Vec<usize> =
            self.leases.iter().filter(|&(_, &at)| now.0 - at > lease).map(|(&worker, _)| worker).collect();
        let mut reclaimed = Vec::new();
        for gone in expired {
            self.leases.remove(&gone);
            for tag in self.release(gone, |_| true) {
                if let Some(message) = self.of(&tag) {
                    self.stored[message].failed += 1;
                }
                reclaimed.push(tag);
            }
            self.lapsed.insert(gone);
            self.vacate(gone);
        }
        moved |= self.look_after_slots();
        (reclaimed, moved)
    }

    /// A worker connects anew. Returns the known tags that are not held, and the unknown ones that were and went back.
    pub(super) fn recover(&mut self, worker: usize, known: &[Tag], now: i64) -> (Vec<Tag>, Vec<Tag>) {
        self.leases.insert(worker, now);
        let returned = self.release(worker, |tag| !known.contains(tag));
        let lost = known.iter().filter(|tag| !self.holds(tag)).cloned().collect();
        (lost, returned)
    }

    /// A worker leaves. Returns what it still held.
    pub(super) fn close(&mut self, worker: usize) -> Vec<Tag> {
        self.leases.remove(&worker);
        self.vacate(worker);
        self.release(worker, |_| true)
    }

    fn release(&mut self, worker: usize, which: impl Fn(&Tag) -> bool) -> Vec<Tag> {
        let tags: Vec<Tag> = self.held_by(worker).filter(|tag| which(tag)).cloned().collect();
        for tag in tags.iter().rev() {
            if let Some(message) = self.of(tag) {
                self.put_back(message, true);
            }
        }
        tags
    }

    /// Whether every message has come to its end.
    pub(super) fn is_drained(&self) -> bool {
        self.stored.iter().all(|stored| matches!(stored.place, Place::Done | Place::Dead { .. }))
    }
}
