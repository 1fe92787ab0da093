//! The ends of deliveries.
//!
//! 1. What is published for them, follow-ups and messages that go back by being published anew (to the end of their queue, to
//!    the delay, to the dead letters), is sent and confirmed, all of it at once.
//! 2. Then the deliveries are acknowledged: all up to the first that is still open by one word, the others singly.
//!
//! A crash between the two repeats a task whose follow-ups are out: nothing is lost. There is no doing it in one step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Once};

use umbel_amqp::{Content, Method, Properties};

use super::{AmqpConsumer, CHANNEL, Wire};
use crate::amqp::dead_letters;
use crate::amqp::message;
use crate::amqp::sender::Item;
use crate::broker::{Disposition, Settlement, Tag};
use crate::clock::{Clock, SystemClock};
use crate::error::{BrokerError, Result};

/// A message that was given out, as it is needed to publish it again.
pub(super) struct Kept {
    /// Its queue's place among the sources.
    pub(super) source: usize,
    pub(super) subscription: u64,
    pub(super) queue: Arc<str>,
    /// As they came: what could not be read goes on as it was.
    pub(super) properties: Box<[u8]>,
    pub(super) body: Box<[u8]>,
}

impl Kept {
    pub(super) fn of(content: &Content, source: usize, subscription: u64, queue: Arc<str>) -> Self {
        let (properties, body) = (content.properties.clone().into(), content.body.clone().into());
        Self { source, subscription, queue, properties, body }
    }
}

/// What is held, by the number of its delivery.
#[derive(Default)]
pub(super) struct Held(BTreeMap<u64, Kept>);

impl Held {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn insert(&mut self, number: u64, kept: Kept) {
        self.0.insert(number, kept);
    }
}

/// How a delivery ends on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It is done with here.
    Ack,
    /// Back to its place.
    Back,
}

/// Settlements of tags that are held, and the tags that are not.
struct Sorted<'a> {
    ours: Vec<(u64, &'a Settlement)>,
    untagged: Vec<&'a Settlement>,
    lost: Vec<Tag>,
}

/// What became of settlements.
#[derive(Default)]
pub(super) struct Settled {
    /// Tags that were not held any more.
    pub(super) lost: Vec<Tag>,
    /// Tags that are held on: there are no slots here to wait for.
    pub(super) entered: Vec<Tag>,
}

impl AmqpConsumer {
    /// Carries out `settlements`.
    pub(super) fn settle(&mut self, settlements: &[Settlement]) -> Result<Settled> {
        if settlements.is_empty() {
            return Ok(Settled::default());
        }
        let sorted = self.sort(settlements);
        self.publish(&sorted)?;
        let ends: Vec<(u64, End)> =
            sorted.ours.iter().filter_map(|(number, settlement)| Some((*number, end(settlement)?))).collect();
        self.attempt(|wire, _| wire.end(&ends))?;
        let enters = |settlement: &&Settlement| matches!(settlement.disposition, Disposition::Enter(_));
        let entered = sorted.ours.iter().map(|(_, settlement)| *settlement).filter(enters);
        let entered: Vec<Tag> = entered.filter_map(|settlement| settlement.tag.clone()).collect();
        if !entered.is_empty() {
            warn_of_slots();
        }
        Ok(Settled { lost: sorted.lost, entered })
    }

    fn sort<'a>(&self, settlements: &'a [Settlement]) -> Sorted<'a> {
        let mut sorted = Sorted { ours: Vec::new(), untagged: Vec::new(), lost: Vec::new() };
        let mut seen = BTreeSet::new();
        for settlement in settlements {
            let Some(tag) = &settlement.tag else {
                sorted.untagged.push(settlement);
                continue;
            };
            match self.number_of(tag).filter(|number| seen.insert(*number)) {
                Some(number) => sorted.ours.push((number, settlement)),
                None => sorted.lost.push(tag.clone()),
            }
        }
        sorted
    }

    /// The delivery's number, if the tag is held on this connection.
    fn number_of(&self, tag: &Tag) -> Option<u64> {
        let wire = self.wire.as_ref()?;
        let rest = tag.0.strip_prefix(self.consumer.worker_id.as_str())?.strip_prefix('.')?;
        let (epoch, number) = rest.split_once('.')?;
        let number = number.parse().ok()?;
        (epoch.parse() == Ok(wire.epoch) && wire.held.0.contains_key(&number)).then_some(number)
    }

    /// Publishes whatever the settlements say, and waits until it is confirmed.
    fn publish(&mut self, sorted: &Sorted<'_>) -> Result<()> {
        let now = SystemClock.now();
        let mut items = Vec::new();
        let all = sorted.ours.iter().map(|(_, settlement)| *settlement).chain(sorted.untagged.iter().copied());
        for outgoing in all.flat_map(|settlement| &settlement.publish) {
            items.push(Item::outgoing(outgoing, &self.options, now)?);
        }
        if let Some(wire) = &self.wire {
            let mut ours: Vec<_> =
                sorted.ours.iter().map(|(number, settlement)| (*number, &settlement.disposition)).collect();
            // The delay counts whole seconds: those of one second come in the order in which they went.
            ours.sort_by_key(|(_, disposition)| match disposition {
                Disposition::Delay { until } => until.0,
                _ => 0,
            });
            for (number, disposition) in ours {
                items.extend(returning(&wire.held.0[&number], disposition, now)?);
            }
        }
        self.sender.send(&items).map_err(|error| match error {
            // That connection is not the one on which messages are held: these stay ours.
            BrokerError::Connection { url, detail } => BrokerError::Unavailable { url, detail },
            error => error,
        })
    }
}

/// The message that goes back by being published.
fn returning<'a>(
    kept: &'a Kept,
    disposition: &Disposition,
    now: umbel_protocol::Timestamp,
) -> Result<Option<Item<'a>>> {
    let decoded = || Properties::decode(&kept.properties);
    match disposition {
        Disposition::Ack | Disposition::Enter(_) | Disposition::Requeue { front: true, failed: false } => Ok(None),
        Disposition::Requeue { failed, .. } => match decoded() {
            Ok(mut properties) => {
                message::mark_returned(&mut properties, *failed);
                Item::to_queue(&kept.queue, &properties, &kept.body).map(Some)
            }
            Err(_) => Ok(Some(as_it_came(kept))),
        },
        Disposition::Delay { until } => match decoded() {
            Ok(mut properties) => {
                message::forget_the_way(&mut properties);
                Item::to_queue_at(&kept.queue, *until, now, properties, &kept.body).map(Some)
            }
            Err(_) => Ok(Some(as_it_came(kept))),
        },
        Disposition::Dead(reason) => {
            dead_letters::item(&kept.queue, &kept.properties, &kept.body, reason, now).map(Some)
        }
    }
}

/// What could not be read cannot be marked either.
fn as_it_came(kept: &Kept) -> Item<'_> {
    let destination = umbel_protocol::Destination::queue(&*kept.queue);
    let properties = kept.properties.to_vec();
    Item { destination, delayed_for: None, mandatory: true, properties, body: &kept.body }
}

/// `None`: it does not end.
fn end(settlement: &Settlement) -> Option<End> {
    match settlement.disposition {
        Disposition::Enter(_) => None,
        Disposition::Requeue { front: true, failed: false } => Some(End::Back),
        _ => Some(End::Ack),
    }
}

/// Once for each process: it is the same with every task.
fn warn_of_slots() {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        log::warn!("RabbitMQ keeps no slots: limits of how many tasks run at a time are not in force; use Redis or a SQLite file");
    });
}

impl Wire {
    fn end(&mut self, ends: &[(u64, End)]) -> umbel_amqp::Result<()> {
        let acked: BTreeSet<u64> = ends.iter().filter(|(_, end)| *end == End::Ack).map(|(number, _)| *number).collect();
        let prefix = self.done_prefix(&acked);
        if let Some((last, multiple)) = prefix {
            self.link.send(CHANNEL, &Method::BasicAck { delivery_tag: last, multiple })?;
        }
        let last = prefix.map_or(0, |(last, _)| last);
        for number in acked.range(last + 1..) {
            self.link.send(CHANNEL, &Method::BasicAck { delivery_tag: *number, multiple: false })?;
        }
        for (number, _) in ends.iter().filter(|(_, end)| *end == End::Back) {
            self.link.send(CHANNEL, &Method::BasicReject { delivery_tag: *number, requeue: true })?;
        }
        self.link.flush()?;
        for (number, _) in ends {
            if let Some(kept) = self.held.0.remove(number) {
                self.intake.settled(&kept);
            }
        }
        Ok(())
    }

    /// The last of `acked` before which nothing is open, and whether there are several.
    fn done_prefix(&self, acked: &BTreeSet<u64>) -> Option<(u64, bool)> {
        let open = self.held.0.keys().find(|number| !acked.contains(number)).copied();
        let waiting = self.intake.first_waiting();
        let first_open = open.into_iter().chain(waiting).min().unwrap_or(u64::MAX);
        let mut prefix = acked.range(..first_open);
        let last = prefix.next_back()?;
        Some((*last, prefix.next().is_some()))
    }
}
