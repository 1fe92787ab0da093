//! What the bridge does itself for brokers that cannot: it holds only in this process, and as long as that runs.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use umbel_broker::sync::Mutex;
use umbel_broker::{
    Clock, Delivery, Disposition, GivenUp, Lane, Listener, Result, Revocation, Revoked, Settlement, Slot, Tag, Turn,
};
use umbel_protocol::{Message, Timestamp};

/// Revocations and turns of one broker's handles.
#[derive(Default)]
pub(super) struct Memory {
    revoked: Mutex<HashMap<Revoked, Timestamp>>,
    lanes: Mutex<HashMap<String, Lane>>,
    /// Tags that have a slot, by its name.
    slots: Mutex<HashMap<String, HashSet<Tag>>>,
}

impl Memory {
    pub(super) fn revoke(&self, revocations: &[Revocation], now: Timestamp) {
        let mut kept = self.revoked.lock();
        kept.retain(|_, until| *until > now);
        for Revocation { what, until } in revocations {
            let end = kept.entry(what.clone()).or_insert(*until);
            *end = (*end).max(*until);
        }
    }

    pub(super) fn revoked(&self, now: Timestamp) -> Vec<Revocation> {
        let kept = self.revoked.lock();
        let valid = kept.iter().filter(|(_, until)| **until > now);
        valid.map(|(what, until)| Revocation { what: what.clone(), until: *until }).collect()
    }

    pub(super) fn turn(&self, limit: &str, pause: Duration, patience: Duration, now: Timestamp) -> Turn {
        let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        let mut lanes = self.lanes.lock();
        lanes.entry(limit.to_owned()).or_default().turn(micros(pause), micros(patience), now.0)
    }
}

/// How long a message waits for a slot before it is tried again.
const AGAIN: Duration = Duration::from_secs(1);

impl Memory {
    /// Takes and gives up slots, counted for this process. What is left is for the broker: a message that found none comes
    /// again later. Also returns the tags that have theirs.
    pub(super) fn slots(&self, settlements: &[Settlement], now: Timestamp) -> (Vec<Settlement>, Vec<Tag>) {
        let (mut left, mut entered) = (Vec::with_capacity(settlements.len()), Vec::new());
        let mut taken = self.slots.lock();
        for settlement in settlements {
            for given_up in &settlement.gives_up {
                if let GivenUp::Slot { slot, holder } = given_up {
                    taken.get_mut(&slot.name).map(|tags| tags.remove(holder));
                }
            }
            let mut settlement = settlement.clone();
            settlement.gives_up.retain(|given_up| matches!(given_up, GivenUp::Lock { .. }));
            if let (Some(tag), Disposition::Enter(wanted)) = (&settlement.tag, &settlement.disposition) {
                if enter(&mut taken, wanted, tag) {
                    entered.push(tag.clone());
                    continue;
                }
                settlement.disposition = Disposition::Delay { until: now.after(AGAIN) };
            }
            if settlement.tag.is_some() || !settlement.publish.is_empty() || !settlement.gives_up.is_empty() {
                left.push(settlement);
            }
        }
        (left, entered)
    }

    /// What is held no more has no slot.
    pub(super) fn leave(&self, lost: &[Tag]) {
        for tags in self.slots.lock().values_mut() {
            tags.retain(|tag| !lost.contains(tag));
        }
    }
}

fn enter(taken: &mut HashMap<String, HashSet<Tag>>, wanted: &[Slot], tag: &Tag) -> bool {
    let is_free = |slot: &Slot| {
        let tags = taken.get(&slot.name);
        tags.is_none_or(|tags| tags.contains(tag) || tags.len() < slot.limit as usize)
    };
    if !wanted.iter().all(is_free) {
        return false;
    }
    for slot in wanted {
        taken.entry(slot.name.clone()).or_default().insert(tag.clone());
    }
    true
}

/// Where nobody says anything to all workers.
pub(super) struct Silence;

impl Listener for Silence {
    fn next(&mut self, timeout: Duration) -> Result<Vec<Message>> {
        std::thread::park_timeout(timeout);
        Ok(Vec::new())
    }
}

/// What settlements come to where the broker cannot delay.
#[derive(Default)]
pub(super) struct Plan {
    /// For the broker, in its own tags.
    pub(super) left: Vec<Settlement>,
    keep: Vec<(Tag, Timestamp)>,
    /// The tags that were given, by the broker's.
    given: HashMap<Tag, Tag>,
    lost: Vec<Tag>,
}

/// Where deliveries wait for their time when their broker cannot keep them: it goes on holding them for this worker, and if
/// that ends they are back in their queues.
pub(super) struct WaitingRoom {
    clock: Arc<dyn Clock>,
    /// What was handed out, by the tag it has here.
    held: HashMap<Tag, Delivery>,
    /// The broker's tags of those that came out of here.
    names: HashMap<Tag, Tag>,
    /// The broker's tags that mean nothing any more to who was given them.
    retired: HashSet<Tag>,
    waiting: BTreeMap<(Timestamp, u64), Delivery>,
    number: u64,
}

impl WaitingRoom {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let (held, names) = (HashMap::new(), HashMap::new());
        Self { clock, held, names, retired: HashSet::new(), waiting: BTreeMap::new(), number: 0 }
    }

    /// What settlements come to. Nothing is changed yet: the broker is asked first.
    pub(super) fn plan(&self, settlements: &[Settlement]) -> Plan {
        let mut plan = Plan::default();
        for settlement in settlements {
            let mut settlement = settlement.clone();
            if let Some(tag) = settlement.tag.take() {
                let kept = plan.keep.iter().any(|(kept, _)| *kept == tag);
                match &settlement.disposition {
                    _ if kept || self.retired.contains(&tag) => {
                        plan.lost.push(tag);
                        continue;
                    }
                    Disposition::Delay { until } if self.held.contains_key(&tag) => plan.keep.push((tag, *until)),
                    Disposition::Delay { .. } => {
                        plan.lost.push(tag);
                        continue;
                    }
                    _ => {
                        let own = self.names.get(&tag).unwrap_or(&tag).clone();
                        plan.given.insert(own.clone(), tag);
                        settlement.tag = Some(own);
                    }
                }
            }
            if settlement.tag.is_some() || !settlement.publish.is_empty() || !settlement.gives_up.is_empty() {
                plan.left.push(settlement);
            }
        }
        plan
    }

    /// The broker has done its part, and holds `lost` no more. Returns the tags that were worth nothing.
    pub(super) fn settled(&mut self, plan: Plan, lost: Vec<Tag>) -> Vec<Tag> {
        let Plan { keep, given, lost: mut all, .. } = plan;
        for (tag, until) in keep {
            let own = self.names.remove(&tag);
            if let Some(delivery) = self.held.remove(&tag) {
                self.keep(delivery, until, own);
            }
        }
        all.extend(lost.into_iter().map(|own| given.get(&own).cloned().unwrap_or(own)));
        for (own, tag) in given {
            self.held.remove(&tag);
            self.names.remove(&tag);
            self.retired.remove(&own);
        }
        all
    }

    fn keep(&mut self, mut delivery: Delivery, until: Timestamp, own: Option<Tag>) {
        if let Some(own) = own {
            delivery.tag = own;
        }
        self.retired.insert(delivery.tag.clone());
        self.number += 1;
        self.waiting.insert((until, self.number), delivery);
    }

    /// How many are due, of `want` at most.
    pub(super) fn count_due(&self, want: usize) -> usize {
        let now = self.clock.now();
        self.waiting.keys().take_while(|(due, _)| *due <= now).take(want).count()
    }

    /// Up to `want` of those that are due, under new tags.
    pub(super) fn due(&mut self, want: usize) -> Vec<Delivery> {
        let (now, mut due) = (self.clock.now(), Vec::new());
        while due.len() < want {
            let Some(first) = self.waiting.first_entry().filter(|first| first.key().0 <= now) else { break };
            let number = first.key().1;
            let mut delivery = first.remove();
            let own = delivery.tag.clone();
            delivery.tag = Tag(format!("{}+{number}", own.0).into());
            self.names.insert(delivery.tag.clone(), own);
            due.push(delivery);
        }
        self.hold(&due);
        due
    }

    /// Remembers what is handed out.
    pub(super) fn hold(&mut self, deliveries: &[Delivery]) {
        self.held.extend(deliveries.iter().map(|delivery| (delivery.tag.clone(), delivery.clone())));
    }

    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.waiting.first_key_value().map(|((due, _), _)| *due)
    }

    /// Tags as the broker knows them, those that wait among them.
    pub(super) fn known(&self, tags: &[Tag]) -> Vec<Tag> {
        let known = tags.iter().filter(|tag| !self.retired.contains(tag));
        let known = known.map(|tag| self.names.get(tag).unwrap_or(tag).clone());
        known.chain(self.waiting.values().map(|delivery| delivery.tag.clone())).collect()
    }

    /// The broker holds `lost` no more; what of `tags` is worth nothing therefore.
    pub(super) fn forget(&mut self, tags: &[Tag], lost: &[Tag]) -> Vec<Tag> {
        self.waiting.retain(|_, delivery| !lost.contains(&delivery.tag));
        let is_gone = |tag: &Tag| self.retired.contains(tag) || lost.contains(self.names.get(tag).unwrap_or(tag));
        let gone: Vec<Tag> = tags.iter().filter(|tag| is_gone(tag)).cloned().collect();
        for tag in &gone {
            self.held.remove(tag);
            self.names.remove(tag);
        }
        // What the caller does not know of went back.
        self.held.retain(|tag, _| tags.contains(tag));
        self.names.retain(|tag, _| tags.contains(tag));
        for tag in lost {
            self.retired.remove(tag);
        }
        gone
    }
}
