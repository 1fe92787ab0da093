//! Taking and settling messages in a file.

use std::collections::VecDeque;
use std::sync::Arc;

use super::content;
use super::fault::Fault;
use super::lease::{Key, Lease};
use super::places::{self, Parcel};
use super::session::{Commit, Session, Step};
use crate::broker::{Consumer, ConsumerOptions, Delivery, Disposition, Exchanged, Settlement, Tag};
use crate::error::{BrokerError, Result};
use crate::queue::PRIORITY_STEPS;
use crate::slots::GivenUp;

pub(super) struct SqliteConsumer {
    session: Session,
    lease: Lease,
    queues: Queues,
    stores_results: bool,
}

/// The queues of one consumer, in the order in which they are looked at.
struct Queues {
    names: Vec<Arc<str>>,
    ids: Vec<i64>,
    /// Where the next look begins, so that all are served alike over many calls.
    first: usize,
}

impl SqliteConsumer {
    pub(super) fn open(mut session: Session, options: ConsumerOptions) -> Result<Self> {
        let ConsumerOptions { worker_id, queues, lease, stores_results } = options;
        let (lease, queues) = session.write(Commit::Repeatable, |step| {
            let lease = Lease::sign_on(step, worker_id, lease)?;
            Ok((lease, Queues::open(step, queues.iter().map(|name| Arc::from(name.as_str())).collect())?))
        })?;
        Ok(Self { session, lease, queues, stores_results })
    }

    /// True when there is something to fetch or to keep up, which needs a transaction.
    fn has_work(&self, want: usize) -> Result<(bool, Exchanged)> {
        let now = self.session.now();
        self.session.read(|connection| {
            let next_due = places::next_due(connection)?;
            let mut work = next_due.is_some_and(|due| due <= now) || !self.lease.is_fresh(connection, now)?;
            for id in self.queues.ids.iter().filter(|_| want > 0) {
                work = work || places::has_ready(connection, *id)?;
            }
            Ok((work, Exchanged { next_due, ..Exchanged::default() }))
        })
    }
}

impl Consumer for SqliteConsumer {
    fn exchange(&mut self, settlements: &[Settlement], want: usize) -> Result<Exchanged> {
        if !self.stores_results && settlements.iter().any(Settlement::needs_results) {
            return Err(BrokerError::results_not_stored());
        }
        if settlements.is_empty() {
            let (work, nothing) = self.has_work(want)?;
            if !work {
                return Ok(nothing);
            }
        }
        let commit = if settlements.is_empty() { Commit::Repeatable } else { Commit::Durable };
        let (lease, queues) = (&mut self.lease, &mut self.queues);
        self.session.write(commit, |step| {
            let Settled { lost, entered } = settle_all(step, lease, settlements)?;
            if !lease.is_fresh(step.connection, step.now)? {
                lease.renew(step)?;
            }
            let next_due = step.move_due()?;
            let deliveries = queues.fetch(step, lease, want)?;
            Ok(Exchanged { deliveries, lost, entered, next_due })
        })
    }

    fn heartbeat(&mut self) -> Result<usize> {
        let lease = &mut self.lease;
        self.session.write(Commit::Repeatable, |step| {
            let in_time = lease.renew(step)?;
            step.move_due()?;
            // Who was late itself saw the clock jump or the machine sleep: others are as late, and get one more beat.
            let returned = if in_time { lease.reclaim(step)? } else { 0 };
            lease.look_after_slots(step)?;
            step.look_after_lines()?;
            Ok(returned)
        })
    }

    fn recover(&mut self, known: &[Tag]) -> Result<Vec<Tag>> {
        let mut session = self.session.reopened()?;
        let (lease, names) = (&mut self.lease, self.queues.names.clone());
        let (lost, queues) = session.write(Commit::Repeatable, |step| {
            lease.renew(step)?;
            lease.give_back(step, known)?;
            Ok((lease.lost(step, known)?, Queues::open(step, names)?))
        })?;
        self.session = session;
        self.queues = queues;
        Ok(lost)
    }

    fn close(&mut self) -> Result<()> {
        let lease = &mut self.lease;
        self.session.write(Commit::Repeatable, |step| {
            lease.give_back(step, &[])?;
            lease.sign_off(step)
        })
    }
}

/// What became of the tags of settlements.
#[derive(Default)]
struct Settled {
    /// Not held any more.
    lost: Vec<Tag>,
    /// Held on, with their slots.
    entered: Vec<Tag>,
}

/// Settles in order.
fn settle_all(step: &mut Step<'_>, lease: &Lease, settlements: &[Settlement]) -> Result<Settled, Fault> {
    let mut settled = Settled::default();
    let mut results = 0;
    for settlement in settlements {
        step.write_results(&settlement.results)?;
        results += settlement.results.len();
        give_up_slots(step, lease, &settlement.gives_up)?;
        if let Some(tag) = &settlement.tag {
            let key = lease.key(tag);
            if let (Some(key), Disposition::Enter(slots)) = (key, &settlement.disposition) {
                match step.is_held(key.0, key.1)? {
                    false => settled.lost.push(tag.clone()),
                    true if step.enter(key, slots)? => settled.entered.push(tag.clone()),
                    true => {}
                }
                continue;
            }
            let held = match key {
                Some((epoch, sequence)) => step.release(epoch, sequence)?,
                None => None,
            };
            let Some(parcel) = held else {
                settled.lost.push(tag.clone());
                continue;
            };
            dispose(step, parcel, &settlement.disposition)?;
        }
        step.publish(&settlement.publish)?;
        for given in &settlement.gives_up {
            if let GivenUp::Lock { name, owner } = given {
                step.release_lock(name, owner)?;
            }
        }
    }
    step.trim_results(results)?;
    Ok(settled)
}

/// What is given up also by one who has lost the message.
fn give_up_slots(step: &mut Step<'_>, lease: &Lease, gives_up: &[GivenUp]) -> Result<(), Fault> {
    for given in gives_up {
        match given {
            GivenUp::Slot { slot, holder } => {
                if let Some(key) = lease.key(holder) {
                    step.give_up_slot(slot, key)?;
                }
            }
            GivenUp::Place { queue, line } => step.give_up_place(queue, line)?,
            GivenUp::Lock { .. } => {}
        }
    }
    Ok(())
}

fn dispose(step: &mut Step<'_>, parcel: Parcel, disposition: &Disposition) -> Result<(), Fault> {
    match disposition {
        Disposition::Ack => content::delete(step.connection, parcel.message),
        Disposition::Enter(_) => step.push_front(parcel),
        Disposition::Requeue { front: true, failed } => step.push_front(parcel.returned(*failed)),
        Disposition::Requeue { front: false, failed } => step.push_back(parcel.returned(*failed)),
        Disposition::Delay { until } => step.delay(parcel, *until).map(drop),
        Disposition::Dead(reason) => step.bury(parcel, reason),
    }
}

impl Queues {
    fn open(step: &mut Step<'_>, names: Vec<Arc<str>>) -> Result<Self, Fault> {
        let ids = names.iter().map(|name| step.queue_id(name)).collect::<Result<Vec<i64>, Fault>>()?;
        Ok(Self { names, ids, first: 0 })
    }

    /// Takes up to `want` messages: by step, then in turn from each queue.
    fn fetch(&mut self, step: &mut Step<'_>, lease: &mut Lease, want: usize) -> Result<Vec<Delivery>, Fault> {
        let mut deliveries = Vec::new();
        for priority in PRIORITY_STEPS {
            let missing = want - deliveries.len();
            if missing == 0 {
                break;
            }
            for (queue, parcel) in self.take_in_turn(step, priority, missing)? {
                let (key, tag) = lease.next_tag();
                deliveries.push(hold(step, key, tag, Arc::clone(&self.names[queue]), parcel)?);
            }
        }
        Ok(deliveries)
    }

    /// Takes up to `want` messages of one step, interleaved, each queue contributing alike while it can.
    fn take_in_turn(&mut self, step: &mut Step<'_>, priority: u8, want: usize) -> Result<Vec<(usize, Parcel)>, Fault> {
        let count = self.ids.len();
        let order: Vec<usize> = (0..count).map(|offset| (self.first + offset) % count).collect();
        let mut lanes: Vec<VecDeque<Parcel>> = vec![VecDeque::new(); count];
        let mut full = order.clone();
        let mut missing = want;
        while missing > 0 && !full.is_empty() {
            let share = missing.div_ceil(full.len());
            let mut still_full = Vec::new();
            for &queue in &full {
                let limit = share.min(missing);
                let taken = step.take_ready(self.ids[queue], priority, limit)?;
                missing -= taken.len();
                if taken.len() == limit {
                    still_full.push(queue);
                }
                lanes[queue].extend(taken);
                if missing == 0 {
                    break;
                }
            }
            full = still_full;
        }
        let taken = interleave(&order, lanes);
        if let Some((last, _)) = taken.last() {
            self.first = (last + 1) % count;
        }
        Ok(taken)
    }
}

fn interleave(order: &[usize], mut lanes: Vec<VecDeque<Parcel>>) -> Vec<(usize, Parcel)> {
    let mut taken = Vec::new();
    loop {
        let before = taken.len();
        for &queue in order {
            taken.extend(lanes[queue].pop_front().map(|parcel| (queue, parcel)));
        }
        if taken.len() == before {
            return taken;
        }
    }
}

fn hold(step: &mut Step<'_>, key: Key, tag: Tag, queue: Arc<str>, parcel: Parcel) -> Result<Delivery, Fault> {
    step.hold(key.0, key.1, parcel)?;
    let payload = content::read(step.connection, parcel.message, parcel.failed, parcel.redelivered)?;
    Ok(Delivery { tag, queue, payload })
}
