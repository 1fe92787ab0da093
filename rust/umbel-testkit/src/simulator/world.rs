//! The event loop: what happens when.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use umbel_broker::{Settlement, Tag};
use umbel_protocol::Timestamp;
use umbel_worker::engine::{ChildId, Input, JobId, ShutdownKind};

use super::broker::Broker;
use super::checks::{Handling, Run};
use super::child::Order;
use super::chords::Chord;
use super::counts::Happening;
use super::faults::{Fault, Mood};
use super::frozen::Backlog;
use super::plan::Plan;
use super::revoking::Revocations;
use super::runtime::Worker;
use super::{Options, Report};

/// When every history begins, µs since the epoch.
pub(super) const START: i64 = 1_800_000_000_000_000;

/// A worker silent for this long loses its messages, µs.
pub(super) const LEASE: i64 = 10_000_000;

/// How often to look for messages that lie about, µs.
const WATCH: i64 = 400_000;

/// Calm must bring everything to its end within this time, µs.
const PATIENCE: i64 = 600_000_000;

/// More events than any history needs: beyond, it is running in a circle.
const MOST_EVENTS: u64 = 400_000;

/// What a frame tells of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Nothing,
    Started(usize),
    Finished(usize),
}

/// Something that is going to happen.
#[derive(Debug)]
pub(super) enum Event {
    Publish(Arc<Plan>),
    StartWorker,
    ToEngine { worker: usize, input: Input },
    Frame { worker: usize, child: ChildId, input: Input, told: Told },
    ToChild { worker: usize, child: ChildId, order: Order },
    RunEnds { worker: usize, child: ChildId, run: usize },
    Spawned { worker: usize },
    RequestArrives { worker: usize, number: u64 },
    ReplyArrives { worker: usize, number: u64 },
    LateRequest { worker: usize, settlements: Vec<Settlement> },
    Heartbeat { worker: usize },
    Watch,
    SilenceEnds { worker: usize },
    ConnectionLost { worker: usize, epoch: u64, wait: i64 },
    Connect { worker: usize, epoch: u64 },
    Tick { worker: usize, number: u64 },
    Fault(Fault),
    ThawWorker { worker: usize },
    ThawChild { worker: usize, child: ChildId },
    BrokerIsBack,
    Calm,
}

/// Everything there is.
pub(super) struct World {
    pub(super) options: Options,
    pub(super) rng: fastrand::Rng,
    pub(super) mood: Mood,
    /// Real time, which the broker's clock shows; µs.
    pub(super) now: i64,
    events: BinaryHeap<Reverse<(i64, u64)>>,
    pending: BTreeMap<u64, Event>,
    next_event: u64,
    pub(super) broker: Broker,
    /// What waits for the broker while it is away.
    pub(super) broker_backlog: Backlog,
    pub(super) workers: Vec<Worker>,
    pub(super) runs: Vec<Run>,
    pub(super) handlings: BTreeMap<Tag, Handling>,
    /// Every plan by task id, those of follow-ups from the moment their parent ended.
    pub(super) plans: BTreeMap<String, Arc<Plan>>,
    pub(super) chords: Vec<Chord>,
    /// What is revoked, as the broker remembers it.
    pub(super) revoked: Revocations,
    pub(super) is_calm: bool,
    pub(super) calm_since: i64,
    /// By how much a worker's clock has ever been ahead, µs: what such a worker delayed comes that much later.
    pub(super) furthest_ahead: i64,
    /// Break something after so many inputs.
    pub(super) strike_at: Option<(u64, Fault)>,
    pub(super) report: Report,
}

impl World {
    pub(super) fn new(seed: u64, options: Options) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut world = Self {
            options,
            mood: Mood::random(&mut rng),
            rng,
            now: START,
            events: BinaryHeap::new(),
            pending: BTreeMap::new(),
            next_event: 0,
            broker: Broker::default(),
            broker_backlog: None,
            workers: Vec::new(),
            runs: Vec::new(),
            handlings: BTreeMap::new(),
            plans: BTreeMap::new(),
            chords: Vec::new(),
            revoked: Revocations::new(),
            is_calm: false,
            calm_since: i64::MAX,
            furthest_ahead: 0,
            strike_at: None,
            report: Report::default(),
        };
        world.set_the_scene();
        world
    }

    fn set_the_scene(&mut self) {
        let chaos = self.rng.i64(1_000_000..30_000_000);
        for _ in 0..self.rng.usize(1..=3) {
            let wait = self.rng.i64(0..500_000);
            self.after(wait, Event::StartWorker);
        }
        let messages = self.rng.usize(1..=24);
        let together = self.rng.bool();
        for number in 0..messages {
            let wait = if together { self.rng.i64(0..1_000) } else { self.rng.i64(0..chaos) };
            let plan = Plan::random(number, Timestamp(self.now + wait), self.mood, &mut self.rng);
            self.after(wait, Event::Publish(Arc::new(plan)));
        }
        for _ in 0..self.rng.usize(0..=2) {
            self.plan_chord(if together { 1_000 } else { chaos });
        }
        self.plan_faults(chaos);
        self.after(chaos, Event::Calm);
        self.after(WATCH, Event::Watch);
    }

    /// Schedules an event.
    pub(super) fn after(&mut self, wait: i64, event: Event) {
        self.events.push(Reverse((self.now + wait.max(0), self.next_event)));
        self.pending.insert(self.next_event, event);
        self.next_event += 1;
    }

    /// Notes an invariant that was broken; the first one counts.
    pub(super) fn violated(&mut self, what: String) {
        if self.report.violation.is_none() {
            self.note(|| format!("VIOLATION: {what}"));
            self.report.violation = Some(what);
        }
    }

    /// Counts something that happened.
    pub(super) fn count(&mut self, happening: Happening) {
        self.report.counts.add(happening);
    }

    /// Adds a line to the trace.
    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        if self.options.trace {
            let at = (self.now - START) as f64 / 1e6;
            self.report.trace.push(format!("{at:>11.6} {}", line()));
        }
    }

    pub(super) fn run(mut self) -> Report {
        while self.report.violation.is_none() {
            let Some(Reverse((at, number))) = self.events.pop() else { break };
            self.now = self.now.max(at);
            self.broker.now = self.now;
            if let Some(event) = self.pending.remove(&number) {
                self.happen(event);
            }
            if self.is_over() {
                break;
            }
        }
        self.check_the_end();
        self.report.messages = self.broker.stored.len();
        self.report.runs = self.runs.len();
        self.report
    }

    fn is_over(&mut self) -> bool {
        if !self.is_calm {
            return false;
        }
        let left: Vec<usize> = self.living().collect();
        if self.broker.is_drained() {
            if left.is_empty() {
                return true;
            }
            for worker in left {
                if !self.is_frozen(worker) {
                    self.shut_down(worker, ShutdownKind::Warm);
                }
            }
        } else if !left.iter().any(|&worker| self.workers[worker].wanted > 0) {
            // The last one, on its way out, published a follow-up of a message it had acknowledged early; or those that
            // are left were told to have no children.
            self.start_worker();
        }
        let patience = PATIENCE + self.furthest_ahead;
        if self.now > self.calm_since + patience || self.next_event > MOST_EVENTS {
            self.violated(format!("no end in sight: {}", self.unfinished()));
        }
        false
    }

    /// Workers whose process runs.
    pub(super) fn living(&self) -> impl Iterator<Item = usize> + use<'_> {
        self.workers.iter().enumerate().filter(|(_, worker)| worker.is_alive).map(|(number, _)| number)
    }

    /// Lets an event happen, now or when whom it concerns goes on.
    pub(super) fn happen(&mut self, event: Event) {
        let Some(event) = self.put_aside(event) else { return };
        match event {
            Event::Publish(plan) => self.publish(plan),
            Event::StartWorker => self.start_worker(),
            Event::ToEngine { worker, input } => self.feed(worker, input),
            Event::Frame { worker, child, input, told } => self.frame_arrives(worker, child, input, told),
            Event::ToChild { worker, child, order } => self.order_arrives(worker, child, order),
            Event::RunEnds { worker, child, run } => self.run_ends(worker, child, run),
            Event::Spawned { worker } => self.spawned(worker),
            Event::RequestArrives { worker, number } => self.request_arrives(worker, number),
            Event::ReplyArrives { worker, number } => self.reply_arrives(worker, number),
            Event::LateRequest { worker, settlements } => self.late_request(worker, &settlements),
            Event::Heartbeat { worker } => self.heartbeat(worker),
            Event::Watch => self.watch(),
            Event::SilenceEnds { worker } => self.silence_ends(worker),
            Event::ConnectionLost { worker, epoch, wait } => self.connection_lost(worker, epoch, wait),
            Event::Connect { worker, epoch } => self.connect(worker, epoch),
            Event::Tick { worker, number } => self.tick(worker, number),
            Event::Fault(fault) => self.strike(fault),
            Event::ThawWorker { worker } => self.thaw_worker(worker),
            Event::ThawChild { worker, child } => self.thaw_child(worker, child),
            Event::BrokerIsBack => self.broker_is_back(),
            Event::Calm => self.calm(),
        }
    }

    /// A message comes into the queue; everybody who listens hears of it.
    pub(super) fn publish(&mut self, plan: Arc<Plan>) {
        self.note(|| format!("published {} ({}, {:?}, {:?})", plan.id, plan.task, plan.kind, plan.act));
        self.plans.insert(plan.id.clone(), plan.clone());
        if let Some(role) = plan.role {
            self.begin_role(role);
        }
        self.broker.publish(plan, self.now);
        self.ring();
    }

    /// The doorbell of every connected worker.
    pub(super) fn ring(&mut self) {
        let listening: Vec<usize> = self.living().filter(|&worker| self.workers[worker].is_in_touch()).collect();
        for worker in listening {
            let wait = self.rng.i64(10..2_000);
            self.after(wait, Event::ToEngine { worker, input: Input::Rang });
        }
    }

    fn watch(&mut self) {
        if self.report.faults == 0 {
            self.after(WATCH, Event::Watch);
            for worker in self.living().collect::<Vec<usize>>() {
                self.check_idle(worker);
            }
        }
    }

    fn calm(&mut self) {
        self.note(|| "calm".to_owned());
        self.is_calm = true;
        self.calm_since = self.now;
        self.strike_at = None;
        self.broker_is_back();
        for worker in 0..self.workers.len() {
            self.workers[worker].clock_offset = 0;
            if self.workers[worker].is_alive && !self.workers[worker].is_connected {
                let epoch = self.workers[worker].epoch;
                self.after(1_000, Event::Connect { worker, epoch });
            }
        }
        self.start_worker();
    }

    /// The run a job number stands for at a worker.
    pub(super) fn run_of(&self, worker: usize, job: JobId) -> Option<usize> {
        self.runs.iter().rposition(|run| run.worker == worker && run.job == job)
    }
}
