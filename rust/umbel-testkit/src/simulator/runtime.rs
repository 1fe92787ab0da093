//! The model runtime: carries out what an engine asks for, over connections that break.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use umbel_broker::{Settlement, Tag};
use umbel_protocol::Timestamp;
use umbel_worker::engine::{ChildId, Engine, EngineConfig, Input, JobId, Notice, Output, ShutdownKind};

use super::broker::Reply;
use super::child::{Child, Order};
use super::counts::Happening;
use super::faults::Fault;
use super::frozen::Backlog;
use super::plan::{MAX_BYTES, registered};
use super::revoking::Revocations;
use super::trace;
use super::world::{Event, LEASE, World};

/// A dead child or worker may end this many deliveries of a message.
pub(super) const MAX_DELIVERIES: u32 = 5;

/// What an engine has been told of a child, and has told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Active { slots: usize },
    Stopped,
    Killed,
    Gone,
}

/// A request to the broker and its reply.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    pub(super) number: u64,
    pub(super) settlements: Vec<Settlement>,
    pub(super) want: Option<usize>,
    pub(super) reply: Option<Reply>,
    /// Settled in an attempt that was refused in the end: by the next they are not held, and not lost.
    settled: BTreeSet<Tag>,
}

/// One worker process.
pub(super) struct Worker {
    pub(super) engine: Engine,
    pub(super) is_alive: bool,
    pub(super) is_connected: bool,
    /// Counts connections, so that a planned reconnection knows that it is still wanted.
    pub(super) epoch: u64,
    /// What its clock shows beyond real time, µs.
    pub(super) clock_offset: i64,
    /// The latest its clock has shown.
    pub(super) latest: i64,
    pub(super) has_jumped: bool,
    /// How often.
    pub(super) jumps: i64,
    /// What waits for it while its process stands still.
    pub(super) backlog: Backlog,
    /// How long it stood still in all, µs.
    pub(super) frozen_for: i64,
    /// Its packets vanish.
    is_silent: bool,
    /// So many of its requests will be refused half-way.
    pub(super) refusals: u32,
    pub(super) children: BTreeMap<ChildId, Child>,
    /// The engine's view, by what went in and came out.
    pub(super) standing: BTreeMap<ChildId, Standing>,
    pub(super) stopped_at: BTreeMap<ChildId, i64>,
    /// When each child was last heard of.
    pub(super) heard_at: BTreeMap<ChildId, i64>,
    /// Tags it was told to have lost.
    pub(super) told_lost: BTreeSet<Tag>,
    /// Tasks it was told to be revoked.
    pub(super) told_revoked: Revocations,
    pub(super) assigned: BTreeMap<JobId, (ChildId, Tag)>,
    pub(super) wanted: usize,
    pub(super) spawning: usize,
    pub(super) is_killable: bool,
    pub(super) slots: usize,
    pub(super) spawns_fail: bool,
    pub(super) shutdown: Option<(i64, ShutdownKind)>,
    /// It stopped, and the broker had confirmed everything.
    pub(super) has_settled: bool,
    /// A connection of its broke, or refused half-way: what was given out then may have been carried out twice.
    pub(super) was_disconnected: bool,
    /// Its lease ran out at some time.
    pub(super) lapsed: bool,
    pub(super) started_at: i64,
    pub(super) empty_since: i64,
    pub(super) empty_fetches: u32,
    outgoing: Vec<Settlement>,
    want: Option<usize>,
    exchange: Option<Exchange>,
    exchanges: u64,
    ticks: u64,
    next_child: u32,
}

impl Worker {
    fn new(engine: Engine, now: i64) -> Self {
        Self {
            engine,
            is_alive: true,
            is_connected: true,
            epoch: 0,
            clock_offset: 0,
            latest: i64::MIN,
            has_jumped: false,
            jumps: 0,
            backlog: None,
            frozen_for: 0,
            is_silent: false,
            refusals: 0,
            children: BTreeMap::new(),
            standing: BTreeMap::new(),
            stopped_at: BTreeMap::new(),
            heard_at: BTreeMap::new(),
            told_lost: BTreeSet::new(),
            told_revoked: Revocations::new(),
            assigned: BTreeMap::new(),
            wanted: 0,
            spawning: 0,
            is_killable: true,
            slots: 1,
            spawns_fail: false,
            shutdown: None,
            has_settled: false,
            was_disconnected: false,
            lapsed: false,
            started_at: now,
            empty_since: now,
            empty_fetches: 0,
            outgoing: Vec::new(),
            want: None,
            exchange: None,
            exchanges: 0,
            ticks: 0,
            next_child: 0,
        }
    }

    /// Whether the broker can be reached.
    pub(super) fn is_in_touch(&self) -> bool {
        self.is_connected && !self.is_silent
    }

    /// Whether a request is on its way, or its reply.
    pub(super) fn is_asking(&self) -> bool {
        self.exchange.is_some()
    }

    /// Tags of messages on their way to the engine.
    pub(super) fn in_transit(&self) -> impl Iterator<Item = &Tag> {
        let reply = self.exchange.iter().filter_map(|exchange| exchange.reply.as_ref());
        reply.flat_map(|reply| reply.deliveries.iter().map(|delivery| &delivery.tag))
    }
}

impl World {
    pub(super) fn start_worker(&mut self) {
        let number = self.workers.len();
        let config = EngineConfig {
            hostname: format!("celery@w{number}"),
            accept_content: vec!["application/json".into()],
            prefetch_multiplier: self.mood.multiplier(&mut self.rng),
            max_deliveries: MAX_DELIVERIES,
            delay_threshold: Duration::from_secs(2),
            shutdown_timeout: Duration::from_secs(self.rng.u64(0..6)),
            result_expires: None,
            queue_limits: HashMap::new(),
            max_message_bytes: MAX_BYTES,
            own_queue_suffix: String::new(),
        };
        let mut worker = Worker::new(Engine::new(config), self.now);
        if let Some(sabotage) = self.options.sabotage {
            worker.engine.sabotage(sabotage);
        }
        worker.is_killable = self.is_calm || self.rng.u32(..5) > 0;
        worker.slots = if worker.is_killable && self.rng.u32(..4) > 0 { 1 } else { self.rng.usize(2..=4) };
        worker.spawns_fail = !self.is_calm && self.rng.u32(..8) == 0;
        self.workers.push(worker);
        self.broker.open(number, self.now);
        self.note(|| format!("w{number} starts"));
        self.remind(number);
        let children = self.rng.usize(1..=3);
        self.feed(number, Input::Tasks(registered().collect()));
        self.resize(number, children);
        self.after(LEASE / 3, Event::Heartbeat { worker: number });
    }

    pub(super) fn resize(&mut self, worker: usize, children: usize) {
        self.workers[worker].wanted = children;
        self.feed(worker, Input::PoolSize(children));
    }

    pub(super) fn shut_down(&mut self, worker: usize, kind: ShutdownKind) {
        let state = &mut self.workers[worker];
        if state.shutdown.is_none_or(|(_, before)| before < kind) {
            state.shutdown = Some((self.now, kind));
            self.count(if kind == ShutdownKind::Warm { Happening::WarmShutdown } else { Happening::ColdShutdown });
            self.feed(worker, Input::Shutdown(kind));
        }
    }

    /// The one door to an engine.
    pub(super) fn feed(&mut self, worker: usize, input: Input) {
        if !self.workers[worker].is_alive {
            return;
        }
        self.note(|| format!("w{worker} <- {}", trace::input(&input)));
        self.told(worker, &input);
        let state = &mut self.workers[worker];
        let wall = self.now + state.clock_offset;
        state.latest = state.latest.max(wall);
        let mut out = Vec::new();
        state.engine.handle(Timestamp(wall), input, &mut out);
        self.report.steps += 1;
        for output in out {
            self.note(|| format!("w{worker} -> {}", trace::output(&output)));
            self.carry_out(worker, output);
        }
        self.begin_exchange(worker);
        self.check_worker(worker);
        if let Some((step, fault)) = self.strike_at
            && self.report.steps >= step
        {
            self.strike_at = None;
            self.after(0, Event::Fault(fault));
        }
    }

    fn carry_out(&mut self, worker: usize, output: Output) {
        self.check_output(worker, &output);
        let state = &mut self.workers[worker];
        match output {
            Output::Fetch { want } => state.want = Some(want),
            Output::Settle(batch) => state.outgoing.extend(batch),
            Output::Dispatch { child, jobs } => self.order(worker, child, Order::Run(jobs)),
            Output::Recall { child, jobs } => self.order(worker, child, Order::GiveBack(jobs)),
            Output::SoftLimit { child, job } => self.order(worker, child, Order::SoftLimit(job)),
            Output::Cancel { child, job, why } => self.order(worker, child, Order::Cancel(job, why)),
            Output::StopChild { child } => {
                state.standing.insert(child, Standing::Stopped);
                state.stopped_at.insert(child, self.now);
                self.order(worker, child, Order::Stop);
            }
            Output::Kill { child } => {
                state.standing.insert(child, Standing::Killed);
                self.count(Happening::KilledByEngine);
                self.child_dies(worker, child, "signal 9 (SIGKILL)");
            }
            Output::AskTurn { job, pause, patience, .. } => {
                // The broker is asked apart from its exchanges, and may not answer.
                let lost = !self.is_calm && self.rng.u32(..20) == 0;
                let micros = |duration: Duration| duration.as_micros() as i64;
                let turn = (!lost).then(|| self.broker.lane.turn(micros(pause), micros(patience), self.now));
                let wait = self.rng.i64(50..5_000);
                self.after(wait, Event::ToEngine { worker, input: Input::Turn { job, turn } });
            }
            Output::Signal { child, signal } => self.signal(worker, child, signal),
            Output::Spawn { count } => self.spawn(worker, count),
            Output::WakeAt(at) => {
                state.ticks += 1;
                let (number, wait) = (state.ticks, at.0 - self.now - state.clock_offset);
                self.after(wait, Event::Tick { worker, number });
            }
            // What the engine leaves to itself is gone as far as it is concerned.
            Output::Notice(Notice::ChildGone { child, .. }) if !state.is_killable => {
                state.standing.insert(child, Standing::Gone);
                state.assigned.retain(|_, (at, _)| *at != child);
            }
            Output::Notice(_) => {}
            Output::Stopped => self.stopped(worker),
        }
    }

    pub(super) fn tick(&mut self, worker: usize, number: u64) {
        if self.workers[worker].ticks == number {
            self.feed(worker, Input::Tick);
        }
    }

    fn spawn(&mut self, worker: usize, count: usize) {
        for _ in 0..count {
            let wait = self.rng.i64(1_000..80_000);
            self.after(wait, Event::Spawned { worker });
        }
    }

    pub(super) fn spawned(&mut self, worker: usize) {
        if !self.workers[worker].is_alive {
            return;
        }
        let fails = self.workers[worker].spawns_fail && !self.is_calm && self.rng.bool();
        let state = &mut self.workers[worker];
        state.spawning -= 1;
        let child = ChildId(state.next_child);
        state.next_child += 1;
        if fails {
            self.count(Happening::SpawnFailed);
            self.feed(worker, Input::ChildGone { child, how: "exit code 1 before it was ready".into() });
            return;
        }
        let (slots, killable) = (state.slots, state.is_killable);
        state.standing.insert(child, Standing::Active { slots });
        let model = Child::new(slots, killable && !self.is_calm, &mut self.rng);
        self.workers[worker].children.insert(child, model);
        self.feed(worker, Input::ChildReady { child, slots, killable });
    }

    /// Sends what has gathered, one request at a time.
    fn begin_exchange(&mut self, worker: usize) {
        let slow = !self.is_calm && self.rng.u32(..50) == 0;
        let wait = if slow { self.rng.i64(100_000..2_000_000) } else { self.rng.i64(20..3_000) };
        let state = &mut self.workers[worker];
        let idle = state.outgoing.is_empty() && state.want.is_none();
        if !state.is_alive || !state.is_connected || state.exchange.is_some() || idle {
            return;
        }
        state.exchanges += 1;
        let number = state.exchanges;
        let (settlements, want) = (std::mem::take(&mut state.outgoing), state.want.take());
        state.exchange = Some(Exchange { number, settlements, want, ..Exchange::default() });
        self.after(wait, Event::RequestArrives { worker, number });
    }

    /// The broker carries out a request, or a part of it.
    pub(super) fn request_arrives(&mut self, worker: usize, number: u64) {
        let state = &mut self.workers[worker];
        if state.is_silent {
            return;
        }
        let Some(mut exchange) = state.exchange.take_if(|exchange| exchange.number == number) else { return };
        let is_refused = state.refusals > 0;
        state.refusals -= u32::from(is_refused);
        let part = if is_refused { self.rng.usize(0..=exchange.settlements.len()) } else { exchange.settlements.len() };
        let mut reply = Reply::default();
        for settlement in &exchange.settlements[..part] {
            self.apply(worker, settlement, &mut reply);
        }
        if is_refused {
            self.refuse(worker, exchange, part, &reply.lost);
            return;
        }
        reply.lost.retain(|tag| !exchange.settled.contains(tag));
        reply.deliveries = self.broker.fetch(worker, exchange.want.unwrap_or(0));
        reply.next_due = self.broker.next_due();
        exchange.reply = Some(reply);
        self.workers[worker].exchange = Some(exchange);
        if self.report.violation.is_none() {
            let wait = self.rng.i64(20..3_000);
            self.after(wait, Event::ReplyArrives { worker, number });
        }
    }

    /// The broker gave up half-way (out of memory, say); the runtime tries the same again after a pause.
    fn refuse(&mut self, worker: usize, mut exchange: Exchange, part: usize, lost: &[Tag]) {
        self.count(Happening::RequestTorn);
        self.note(|| format!("w{worker} is refused after {part} of {} settlements", exchange.settlements.len()));
        let done = exchange.settlements[..part].iter().filter_map(|settlement| settlement.tag.clone());
        exchange.settled.extend(done.filter(|tag| !lost.contains(tag)));
        let (number, wait) = (exchange.number, self.rng.i64(100_000..2_000_000));
        self.workers[worker].was_disconnected = true;
        self.workers[worker].exchange = Some(exchange);
        self.after(wait, Event::RequestArrives { worker, number });
    }

    /// A request whose connection is long gone: its settlements still hold, it can fetch nothing any more.
    pub(super) fn late_request(&mut self, worker: usize, settlements: &[Settlement]) {
        self.count(Happening::RequestLate);
        self.note(|| format!("w{worker}: {} settlements of an old connection arrive", settlements.len()));
        let mut reply = Reply::default();
        for settlement in settlements {
            self.apply(worker, settlement, &mut reply);
        }
    }

    pub(super) fn reply_arrives(&mut self, worker: usize, number: u64) {
        if self.workers[worker].is_silent {
            return;
        }
        let Some(exchange) = self.workers[worker].exchange.take_if(|exchange| exchange.number == number) else {
            return;
        };
        let Some(reply) = exchange.reply else { return };
        let count = exchange.settlements.len();
        let settled = Input::Settled { count, lost: reply.lost, entered: reply.entered };
        let delivered = Input::Delivered { deliveries: reply.deliveries.clone(), next_due: reply.next_due };
        let fetched = reply.deliveries.len();
        // What was fetched stays in transit until the engine has been told of it.
        let in_transit = Reply { deliveries: reply.deliveries, ..Reply::default() };
        self.workers[worker].exchange = Some(Exchange { number, reply: Some(in_transit), ..Exchange::default() });
        if count > 0 {
            self.feed(worker, settled);
        }
        self.workers[worker].exchange = None;
        match exchange.want {
            Some(_) => {
                self.check_fetched(worker, fetched);
                self.feed(worker, delivered);
            }
            None => self.begin_exchange(worker),
        }
    }

    /// A worker's packets vanish for a while; then it finds its connection broken.
    pub(super) fn silence(&mut self, worker: usize, time: i64) {
        let state = &mut self.workers[worker];
        if state.is_connected && !std::mem::replace(&mut state.is_silent, true) {
            self.count(Happening::Silence);
            self.after(time, Event::SilenceEnds { worker });
        }
    }

    pub(super) fn silence_ends(&mut self, worker: usize) {
        self.workers[worker].is_silent = false;
        let wait = self.rng.i64(1_000..100_000);
        self.disconnect(worker, wait);
    }

    /// The connection breaks: the request under way was carried out or not, or will be when nobody expects it.
    pub(super) fn disconnect(&mut self, worker: usize, wait: i64) {
        let state = &mut self.workers[worker];
        if !state.is_alive || !state.is_connected {
            return;
        }
        state.is_connected = false;
        state.was_disconnected = true;
        state.epoch += 1;
        let (epoch, exchange) = (state.epoch, state.exchange.take());
        self.count(Happening::Disconnected);
        match exchange {
            Some(exchange) if exchange.reply.is_some() => self.count(Happening::ReplyLost),
            Some(exchange) if self.rng.bool() => {
                let (late, settlements) = (self.rng.i64(1_000..20_000_000), exchange.settlements);
                self.after(late, Event::LateRequest { worker, settlements });
            }
            Some(_) => self.count(Happening::RequestLost),
            None => {}
        }
        self.happen(Event::ConnectionLost { worker, epoch, wait });
    }

    /// A worker notices that its connection broke.
    pub(super) fn connection_lost(&mut self, worker: usize, epoch: u64, wait: i64) {
        let state = &mut self.workers[worker];
        if !state.is_alive || state.epoch != epoch {
            return;
        }
        state.outgoing.clear();
        state.want = None;
        self.feed(worker, Input::Disconnected);
        self.after(wait, Event::Connect { worker, epoch });
    }

    pub(super) fn connect(&mut self, worker: usize, epoch: u64) {
        let state = &self.workers[worker];
        if !state.is_alive || state.is_connected || state.epoch != epoch {
            return;
        }
        let known = state.engine.held_tags();
        let (lost, returned) = self.broker.recover(worker, &known, self.now);
        self.check_returned(&returned, "reconnecting");
        self.workers[worker].told_lost.extend(lost.iter().cloned());
        self.count(Happening::Reconnected);
        self.remind(worker);
        if !self.workers[worker].is_alive {
            // Its patience was over before it heard of the connection.
            return;
        }
        self.workers[worker].is_connected = true;
        self.feed(worker, Input::Reconnected { lost });
        self.ring();
    }

    pub(super) fn heartbeat(&mut self, worker: usize) {
        if !self.workers[worker].is_alive {
            return;
        }
        self.after(LEASE / 3, Event::Heartbeat { worker });
        if self.workers[worker].is_in_touch() {
            let (reclaimed, moved) = self.broker.heartbeat(worker, Timestamp(self.now), LEASE);
            for tag in &reclaimed {
                let holder = holder_of(tag);
                self.workers[holder].lapsed = true;
                self.count(Happening::LeaseLost);
                self.note(|| format!("w{worker} took back {} of w{holder}", tag.0));
            }
            if moved || !reclaimed.is_empty() {
                self.ring();
            }
        }
    }

    /// The process ends, having said that it is done.
    fn stopped(&mut self, worker: usize) {
        let state = &mut self.workers[worker];
        state.has_settled = state.engine.stats().unconfirmed == 0;
        self.check_stopped(worker);
        self.check_slots_left(worker);
        if self.workers[worker].is_in_touch() {
            self.broker.close(worker);
        }
        self.end_process(worker);
        self.ring();
    }

    /// The process is gone, and its children with it.
    pub(super) fn end_process(&mut self, worker: usize) {
        self.workers[worker].is_alive = false;
        self.workers[worker].is_connected = false;
        self.workers[worker].backlog = None;
        for run in self.runs.iter_mut().filter(|run| run.worker == worker) {
            run.child_died |= !run.is_over;
        }
        if !self.is_calm {
            let wait = self.rng.i64(1_000..3_000_000);
            self.after(wait, Event::StartWorker);
        }
    }

    /// Hits somebody after a number of inputs, wherever that is in what they do.
    pub(super) fn plan_strike(&mut self, step: u64, fault: Fault) {
        self.strike_at = Some((step, fault));
    }
}

/// The worker a tag was given to.
pub(super) fn holder_of(tag: &Tag) -> usize {
    tag.0.strip_prefix('w').and_then(|rest| rest.split('.').next()).and_then(|number| number.parse().ok()).unwrap_or(0)
}
