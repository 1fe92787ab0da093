//! The ledger: who owes the broker which settlement.
//!
//! Every message the broker holds for this worker is in exactly one place here: a [`Held`] job, or the queue of
//! settlements the broker has not confirmed. It leaves the second only when the broker says so; after a lost
//! connection the whole queue is given out again, which is safe because settling a tag twice changes nothing.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use umbel_broker::{Disposition, GivenUp, Outgoing, Settlement, Tag};
use umbel_protocol::{Message, ResultWrite};

use super::batcher::Seat;
use super::input::ChildId;
use super::intake::Facts;
use super::job::JobId;
use super::limits::Deadlines;
#[cfg(feature = "sabotage")]
use super::obituary;
use super::output::Output;
use super::slots::Pass;
use super::steady::Micros;
use super::unique::Hold;

/// What this worker may still say about a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Claim {
    /// The message is ours to settle.
    Held(Tag),
    /// It was acknowledged when it started; results and follow-ups are still ours to write.
    Acknowledged,
    /// The lease was lost: it runs elsewhere. A copy that runs here may store its result and nothing else.
    Lost,
}

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In the engine, ready to be dispatched.
    Waiting,
    /// In the engine until its eta.
    Timed,
    /// Sent to a child, not known to have started.
    Queued(ChildId),
    /// Running in a child.
    Running(ChildId),
}

/// One delivery that has not ended.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) claim: Claim,
    pub(super) place: Place,
    pub(super) queue: Arc<str>,
    pub(super) message: Arc<Message>,
    pub(super) facts: Facts,
    /// When it was dispatched, then when it started.
    pub(super) since: Micros,
    /// How long it is expected to run; what it adds to its child's load.
    pub(super) predicted: Micros,
    /// When its time limits pass, once it runs.
    pub(super) deadlines: Deadlines,
    /// Its hard limit has passed, and its child was asked to cancel it.
    pub(super) overran: bool,
    /// Its child has been asked to give it back.
    pub(super) recalled: bool,
    /// What keeps others like it from being sent, and until when.
    pub(super) lock: Option<Box<Hold>>,
    /// The slots it needs.
    pub(super) pass: Option<Box<Pass>>,
    /// It has waited for others for long enough.
    pub(super) is_ripe: bool,
    /// Its place in a batch.
    pub(super) seat: Option<Seat>,
    /// It has been given a turn under its task's rate limit.
    pub(super) has_turn: bool,
    /// The signal that is to end it, or that was sent to end it.
    pub(super) terminate: Option<i32>,
    /// How many children died while it was next in line without having said that it had started.
    pub(super) suspicion: u8,
}

impl Held {
    /// A job just taken from the broker.
    pub(super) fn new(delivery: Taken, facts: Facts, place: Place, pass: Option<Box<Pass>>) -> Self {
        let lock = if facts.task.options.unique { Hold::read(&delivery.message).map(Box::new) } else { None };
        Self {
            claim: Claim::Held(delivery.tag),
            place,
            queue: delivery.queue,
            message: delivery.message,
            facts,
            since: 0,
            predicted: 0,
            deadlines: Deadlines::default(),
            overran: false,
            recalled: false,
            lock,
            pass,
            is_ripe: false,
            seat: None,
            has_turn: false,
            terminate: None,
            suspicion: 0,
        }
    }
}

/// A delivery that holds a message.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) tag: Tag,
    pub(super) queue: Arc<str>,
    pub(super) message: Arc<Message>,
}

/// Everything a job's end brings besides its disposition.
#[derive(Debug, Default)]
pub(super) struct Yield {
    pub(super) publish: Vec<Outgoing>,
    pub(super) results: Vec<ResultWrite>,
    pub(super) gives_up: Vec<GivenUp>,
}

impl Yield {
    /// A record and nothing else.
    pub(super) fn record(result: Option<ResultWrite>) -> Self {
        Self { results: result.into_iter().collect(), ..Self::default() }
    }
}

/// A settlement on its way.
#[derive(Debug)]
struct Owed {
    settlement: Settlement,
    /// The job it belongs to, while that may still matter: an early ack's job runs on.
    job: Option<JobId>,
    /// Given out before a connection broke: the broker may have it already.
    repeated: bool,
}

impl Owed {
    /// Whether it asks for slots, and settles nothing.
    fn asks(&self) -> bool {
        matches!(self.settlement.disposition, Disposition::Enter(_))
    }
}

/// The broker's answer for a job that was to enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) job: JobId,
    /// It has its slots. If not, its message is not ours any more.
    pub(super) entered: bool,
}

/// What the broker's word means.
#[derive(Debug, Default)]
pub(super) struct Confirmed {
    /// A message may be in a queue that was not there before.
    pub(super) brings_more: bool,
    pub(super) asked: Vec<Asked>,
}

/// Every held tag, and every settlement not yet confirmed.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    jobs: HashMap<JobId, Held, BuildHasherDefault<JobHasher>>,
    /// Jobs whose claim is [`Claim::Held`].
    claimed: usize,
    next_id: u64,
    owed: VecDeque<Owed>,
    /// How many of `owed`, from the front, the broker has been given.
    given: usize,
    disconnected: bool,
    /// Records are for whoever asked for the task.
    pub(super) replies: bool,
    #[cfg(feature = "sabotage")]
    pub(super) sabotage: Option<super::Sabotage>,
}

impl Ledger {
    /// Enters a job under a new number.
    pub(super) fn admit(&mut self, held: Held) -> JobId {
        let id = JobId(self.next_id);
        self.next_id += 1;
        self.claimed += 1;
        self.jobs.insert(id, held);
        id
    }

    /// A job that has not ended.
    pub(super) fn get(&self, id: JobId) -> Option<&Held> {
        self.jobs.get(&id)
    }

    /// A job that has not ended.
    pub(super) fn get_mut(&mut self, id: JobId) -> Option<&mut Held> {
        self.jobs.get_mut(&id)
    }

    /// Jobs that `wanted` picks, in the order they were taken.
    pub(super) fn find(&self, wanted: impl Fn(&Held) -> bool) -> Vec<JobId> {
        let found = self.jobs.iter().filter(|(_, held)| wanted(held));
        let mut jobs: Vec<JobId> = found.map(|(&job, _)| job).collect();
        jobs.sort_unstable();
        jobs
    }

    /// Jobs that have not ended.
    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Messages that are ours to settle and not settled.
    pub(super) fn claimed(&self) -> usize {
        self.claimed
    }

    /// Settlements the broker has not confirmed.
    pub(super) fn unconfirmed(&self) -> usize {
        self.owed.len()
    }

    /// Acknowledges a job that runs on (early acks).
    pub(super) fn acknowledge(&mut self, id: JobId) {
        let Some(held) = self.jobs.get_mut(&id) else { return };
        if let Claim::Held(tag) = std::mem::replace(&mut held.claim, Claim::Acknowledged) {
            self.claimed -= 1;
            self.owe_for(Some(id), Some(tag), Disposition::Ack, Yield::default());
        }
    }

    /// Asks the broker for a job's slots.
    pub(super) fn enter(&mut self, id: JobId) {
        let Some(Held { claim: Claim::Held(tag), pass: Some(pass), .. }) = self.jobs.get(&id) else { return };
        let settlement = Settlement::of(Some(tag.clone()), Disposition::Enter(pass.slots().to_vec()));
        self.owed.push_back(Owed { settlement, job: Some(id), repeated: false });
    }

    /// Forgets a job whose message waits for its slots in the broker.
    pub(super) fn leave(&mut self, id: JobId) {
        if let Some(held) = self.jobs.remove(&id) {
            self.claimed -= usize::from(matches!(held.claim, Claim::Held(_)));
        }
    }

    /// Ends a job and owes the broker its settlement.
    pub(super) fn close(&mut self, id: JobId, disposition: Disposition, mut brings: Yield) -> Option<Held> {
        let held = self.jobs.remove(&id)?;
        self.address(&mut brings.results, &held.message);
        #[cfg(feature = "sabotage")]
        if self.sabotaged(&disposition) {
            self.claimed -= usize::from(matches!(held.claim, Claim::Held(_)));
            return Some(held);
        }
        let is_final = matches!(disposition, Disposition::Ack | Disposition::Dead(_)) && held.claim != Claim::Lost;
        let lock = held.lock.as_ref().filter(|_| is_final);
        brings.gives_up.extend(lock.map(|lock| lock.given_up(held.facts.id())));
        brings.gives_up.extend(held.pass.iter().flat_map(|pass| pass.given_up()));
        match &held.claim {
            Claim::Held(tag) => {
                self.claimed -= 1;
                self.owe_for(Some(id), Some(tag.clone()), disposition, brings);
            }
            Claim::Acknowledged => self.owe_for(Some(id), None, Disposition::Ack, brings),
            Claim::Lost => {
                brings.publish.clear();
                self.owe_for(Some(id), None, Disposition::Ack, brings);
            }
        }
        Some(held)
    }

    /// Says who is to get records of the task in `message`, where that matters.
    pub(super) fn address(&self, records: &mut [ResultWrite], message: &Message) {
        if self.replies {
            records.iter_mut().for_each(|record| record.reply_to.clone_from(&message.properties.reply_to));
        }
    }

    /// Forgets a job whose lease was lost before it started: it is somebody else's now.
    pub(super) fn drop_lost(&mut self, id: JobId) {
        if let Some(held) = self.jobs.remove(&id) {
            debug_assert!(held.claim == Claim::Lost, "only a lost job may be forgotten");
            self.claimed -= usize::from(matches!(held.claim, Claim::Held(_)));
        }
    }

    /// Owes the settlement of a delivery that never became a job.
    pub(super) fn owe(&mut self, tag: Tag, disposition: Disposition, brings: Yield) {
        self.owe_for(None, Some(tag), disposition, brings);
    }

    /// Owes records that settle nothing.
    pub(super) fn owe_record(&mut self, result: ResultWrite) {
        self.owe_for(None, None, Disposition::Ack, Yield::record(Some(result)));
    }

    /// Owes what a job gives up while it runs.
    pub(super) fn owe_given_up(&mut self, given: GivenUp) {
        self.owe_for(None, None, Disposition::Ack, Yield { gives_up: vec![given], ..Yield::default() });
    }

    fn owe_for(&mut self, job: Option<JobId>, tag: Option<Tag>, disposition: Disposition, brings: Yield) {
        let Yield { publish, results, gives_up } = brings;
        #[cfg(feature = "sabotage")]
        let (publish, results) = match self.sabotage {
            Some(super::Sabotage::DropFollowUps) => (Vec::new(), results),
            Some(super::Sabotage::DropResults) => (publish, Vec::new()),
            Some(super::Sabotage::ForgetDependents) => {
                (publish.into_iter().filter(|outgoing| !obituary::is_one(outgoing)).collect(), results)
            }
            _ => (publish, results),
        };
        if tag.is_none() && publish.is_empty() && results.is_empty() && gives_up.is_empty() {
            return;
        }
        let settlement = Settlement { tag, disposition, publish, results, gives_up };
        self.owed.push_back(Owed { settlement, job, repeated: false });
    }

    /// Gives out what was not given yet, unless the connection is down.
    pub(super) fn flush(&mut self, out: &mut Vec<Output>) {
        if self.disconnected || self.given == self.owed.len() {
            return;
        }
        let fresh = self.owed.range(self.given..).map(|owed| owed.settlement.clone());
        match out
            .iter_mut()
            .rev()
            .find_map(|output| if let Output::Settle(batch) = output { Some(batch) } else { None })
        {
            Some(batch) => batch.extend(fresh),
            None => out.push(Output::Settle(fresh.collect())),
        }
        self.given = self.owed.len();
    }

    /// Takes the broker's word for the oldest `count`.
    ///
    /// An early ack that came too late for its lease means that the message runs elsewhere as well: its copy here
    /// publishes nothing. After a lost reply the broker cannot tell that from an ack it had already carried out, so
    /// then the copy keeps its rights: repeating a follow-up is allowed, losing one is not.
    pub(super) fn confirm(&mut self, count: usize, lost: &[Tag], entered: &[Tag]) -> Confirmed {
        let count = count.min(self.given);
        self.given -= count;
        let mut confirmed = Confirmed::default();
        let settled: Vec<Owed> = self.owed.drain(..count).collect();
        for owed in settled {
            if let (true, Some(job)) = (owed.asks(), owed.job) {
                let entered = owed.settlement.tag.as_ref().is_some_and(|tag| entered.contains(tag));
                confirmed.asked.push(Asked { job, entered });
                continue;
            }
            // A slot or place that is given up brings in who waits for it.
            confirmed.brings_more |= matches!(owed.settlement.disposition, Disposition::Requeue { .. })
                || owed.settlement.gives_up.iter().any(|given| !matches!(given, GivenUp::Lock { .. }));
            let is_lost = owed.settlement.tag.as_ref().is_some_and(|tag| lost.contains(tag));
            if let (true, false, Some(job)) = (is_lost, owed.repeated, owed.job) {
                self.disown(job);
            }
        }
        confirmed
    }

    fn disown(&mut self, job: JobId) {
        if let Some(held) = self.jobs.get_mut(&job) {
            held.claim = Claim::Lost;
        }
        for owed in self.owed.range_mut(self.given..).filter(|owed| owed.job == Some(job)) {
            owed.settlement.publish.clear();
        }
    }

    /// The connection broke: nothing given out since the last confirmation is known to have arrived.
    pub(super) fn disconnect(&mut self) {
        for owed in self.owed.range_mut(..self.given) {
            owed.repeated = true;
        }
        #[cfg(feature = "sabotage")]
        if self.sabotage == Some(super::Sabotage::ForgetUnconfirmed) {
            self.owed.clear();
        }
        self.given = 0;
        self.disconnected = true;
    }

    /// Connected again. Returns the jobs whose tags are in `lost`, now marked so, in the order they were taken.
    pub(super) fn reconnect(&mut self, lost: &[Tag]) -> Vec<JobId> {
        self.disconnected = false;
        #[cfg(feature = "sabotage")]
        if self.sabotage == Some(super::Sabotage::KeepLost) {
            return Vec::new();
        }
        if lost.is_empty() {
            return Vec::new();
        }
        let lost: HashSet<&Tag> = lost.iter().collect();
        let mut jobs = Vec::new();
        for (&id, held) in &mut self.jobs {
            if matches!(&held.claim, Claim::Held(tag) if lost.contains(tag)) {
                held.claim = Claim::Lost;
                jobs.push(id);
            }
        }
        self.claimed -= jobs.len();
        jobs.sort_unstable();
        jobs
    }

    /// Whether the connection is down.
    pub(super) fn is_disconnected(&self) -> bool {
        self.disconnected
    }

    /// Every tag the broker holds for this worker as far as it knows.
    pub(super) fn tags(&self) -> Vec<Tag> {
        let running = self.jobs.values().filter_map(|held| match &held.claim {
            Claim::Held(tag) => Some(tag.clone()),
            Claim::Acknowledged | Claim::Lost => None,
        });
        let settled = self.owed.iter().filter(|owed| !owed.asks());
        running.chain(settled.filter_map(|owed| owed.settlement.tag.clone())).collect()
    }

    #[cfg(feature = "sabotage")]
    fn sabotaged(&self, disposition: &Disposition) -> bool {
        match self.sabotage {
            Some(super::Sabotage::ForgetRequeue) => matches!(disposition, Disposition::Requeue { .. }),
            Some(super::Sabotage::DropEntry) => self.next_id.is_multiple_of(7),
            _ => false,
        }
    }
}

/// Job numbers are consecutive: multiplying spreads them, and no key comes from outside.
#[derive(Debug, Default, Clone, Copy)]
struct JobHasher(u64);

impl Hasher for JobHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}
