//! The engine: a state machine without I/O, clock or thread.
//!
//! One [`Input`] at a time goes in with the moment it is handled, [`Output`]s come out. A delivery's way:
//!
//! 1. `fetch` decides when to ask the broker, `window` for how many;
//! 2. `intake` reads the headers: dead letters end here, far etas go back to the broker (`deliveries`);
//! 3. the `ledger` enters it as a job; the `timer` keeps it until its eta, then it waits;
//! 4. with its slots, if there is a limit (`slots`), and in its turn, if there is a rate limit (`pacer`), the `dispatcher` gives it to a child of the `pool`, or takes it back for another;
//! 5. the child tells how it went (`outcomes`), passes a limit (`limits`) or dies (`departures`); a job that is revoked
//!    (`revocations`) ends before it starts, or with its process;
//! 6. `acks` decides what the broker is told, and the ledger owes it until it is confirmed.

mod acks;
mod alarm;
mod batcher;
pub mod config;
mod deliveries;
mod departures;
mod dispatcher;
mod fetch;
pub mod input;
mod intake;
pub mod job;
mod ledger;
mod limits;
mod lines;
mod obituary;
mod outcomes;
pub mod output;
mod pace;
mod pacer;
mod pool;
mod records;
mod revocations;
mod shutdown;
mod slots;
pub mod stats;
mod steady;
mod surplus;
mod tasks;
mod timer;
mod tries;
mod unique;
mod window;

use std::collections::VecDeque;

use umbel_broker::Tag;
use umbel_protocol::Timestamp;

pub use config::{BatchOptions, EngineConfig, TaskOptions};
pub use input::{ChildId, Input, ShutdownKind};
pub use job::{Cancel, Job, JobId, Outcome, Verdict};
pub use output::{Notice, Output};
pub use records::revoked_unseen;
pub use stats::{Stats, Totals};

use alarm::Alarm;
use batcher::Batcher;
use fetch::Fetcher;
use ledger::Ledger;
use pacer::Pacer;
use pool::Pool;
use revocations::Revocations;
use shutdown::Phase;
use steady::{Micros, Now, SteadyClock};
use tasks::TaskTable;
use timer::Timer;
use window::Window;

/// Settlements that may be unconfirmed before no more messages are fetched: a broker that cannot take results as
/// fast as tasks finish must not fill this process's memory.
const MOST_UNCONFIRMED: usize = 4_096;

/// A deliberate fault in the ledger, for the test that shows that the simulator would notice.
#[cfg(feature = "sabotage")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// Some jobs end without a settlement.
    DropEntry,
    /// Late acks are sent when the job starts.
    AckEarly,
    /// Messages to be requeued are forgotten.
    ForgetRequeue,
    /// What was not confirmed when a connection broke is not given out again.
    ForgetUnconfirmed,
    /// Outcomes are settled without their follow-ups.
    DropFollowUps,
    /// Results are not stored with the acknowledgement.
    DropResults,
    /// Leases lost while a connection was broken are not believed to be lost.
    KeepLost,
    /// Nobody is told of the end of a task that no child could speak for.
    ForgetDependents,
}

/// Decides everything a worker does. Deterministic: the same inputs give the same outputs.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    clock: SteadyClock,
    tasks: TaskTable,
    ledger: Ledger,
    /// Jobs ready to be dispatched, in order. May name jobs that have ended since; those are passed over.
    waiting: VecDeque<JobId>,
    timer: Timer,
    pacer: Pacer,
    batcher: Batcher,
    pool: Pool,
    /// Jobs at children that are not known to have started.
    queued: usize,
    window: Window,
    fetcher: Fetcher,
    /// Not later than the next time limit of a running job, or of a child that was told to end.
    next_limit: Option<Micros>,
    /// Since when more messages are held than the window allows.
    surplus_since: Option<Micros>,
    phase: Phase,
    alarm: Alarm,
    totals: Totals,
    revocations: Revocations,
}

impl Engine {
    /// An engine that wants no children, knows no tasks and fetches nothing until it is told otherwise
    /// ([`Input::Tasks`], [`Input::PoolSize`], [`Input::ChildReady`]). The broker counts as connected.
    pub fn new(config: EngineConfig) -> Self {
        Self {
            clock: SteadyClock::default(),
            tasks: TaskTable::default(),
            ledger: Ledger::default(),
            waiting: VecDeque::new(),
            timer: Timer::default(),
            pacer: Pacer::default(),
            batcher: Batcher::default(),
            pool: Pool::default(),
            queued: 0,
            window: Window::new(config.prefetch_multiplier),
            fetcher: Fetcher::default(),
            next_limit: None,
            surplus_since: None,
            phase: Phase::Open,
            alarm: Alarm::default(),
            totals: Totals::default(),
            revocations: Revocations::default(),
            config,
        }
    }

    /// Says in each record who asked for its task: for result stores that send them there.
    pub fn address_records(&mut self) {
        self.ledger.replies = true;
    }

    /// Handles one input and adds what is to be done to `out`. Several inputs may share an `out` before it is
    /// carried out: what belongs together is then merged into fewer outputs.
    pub fn handle(&mut self, now: Timestamp, input: Input, out: &mut Vec<Output>) {
        self.handle_all(now, [input], out);
    }

    /// Handles inputs that came together, in order; what follows from all of them is worked out once.
    pub fn handle_all(&mut self, now: Timestamp, inputs: impl IntoIterator<Item = Input>, out: &mut Vec<Output>) {
        if self.phase == Phase::Stopped {
            return;
        }
        let (now, went_back) = self.clock.read(now);
        if went_back {
            self.alarm.clear();
        }
        for input in inputs {
            if matches!(input, Input::Tick) {
                self.alarm.clear();
            }
            self.take_in(input, now, out);
        }
        self.advance(now, out);
    }

    fn take_in(&mut self, input: Input, now: Now, out: &mut Vec<Output>) {
        match input {
            Input::Delivered { deliveries, next_due } => self.delivered(deliveries, next_due, now, out),
            Input::FetchFailed => self.fetcher.failed(now),
            Input::Rang => self.fetcher.more(),
            Input::Settled { count, lost, entered } => self.settled(count, &lost, &entered),
            Input::ChildReady { child, slots, killable } => self.child_ready(child, slots, killable, now, out),
            Input::Started { child, jobs } => {
                self.started(child, &jobs, now);
                self.terminate_started(child, &jobs, out);
                self.release_started(&jobs);
            }
            Input::Progress { job, result } => self.progress(job, result),
            Input::Finished { child, outcome } => self.finished(child, outcome, now, out),
            Input::Returned { child, jobs } => self.returned(child, &jobs, out),
            Input::Retiring { child } => self.retire(child, now, out),
            Input::WantsRelief { child } => self.pool.want_relief(child),
            Input::ChildGone { child, how } => self.child_gone(child, &how, now, out),
            Input::Disconnected => self.disconnected(),
            Input::Reconnected { lost } => self.reconnected(&lost, now, out),
            Input::Tasks(tasks) => self.tasks.replace(tasks),
            Input::PoolSize(wanted) => self.resize(wanted, now, out),
            Input::Revoke { revocations, signal } => self.revoke(&revocations, signal, now, out),
            Input::Turn { job, turn } => self.turn_told(job, turn, now),
            Input::Tick => {}
            Input::Shutdown(kind) => self.shutdown(kind, now, out),
        }
    }

    /// Everything that follows from the new state.
    fn advance(&mut self, now: Now, out: &mut Vec<Output>) {
        self.release_due(now);
        self.release_paced(now);
        self.enforce_limits(now, out);
        self.spawn(now, out);
        self.dispatch(now, out);
        self.dispatch_batches(now, out);
        self.expect_batch(now);
        self.expect_turn(now);
        self.rebalance(now, out);
        self.release_surplus(now, out);
        if let Some(at) = self.next_limit {
            self.alarm.at_steady(at, now);
        }
        self.ledger.flush(out);
        self.fetch(now, out);
        self.wind_down(now, out);
        self.ledger.flush(out);
        self.alarm.ring(now, out);
    }

    fn spawn(&mut self, now: Now, out: &mut Vec<Output>) {
        if !self.is_open() {
            return;
        }
        if let Some(at) = self.pool.spawn_missing(now, out) {
            self.alarm.at_steady(at, now);
        }
    }

    fn fetch(&mut self, now: Now, out: &mut Vec<Output>) {
        let may_fetch = self.is_open()
            && self.tasks.is_known()
            && !self.ledger.is_disconnected()
            && self.ledger.unconfirmed() < MOST_UNCONFIRMED;
        if !may_fetch || self.fetcher.is_outstanding() {
            return;
        }
        let room = self.window.target(&self.pool, now).saturating_sub(self.prefetched());
        if let Some(want) = self.fetcher.next(room, now, &mut self.alarm) {
            out.push(Output::Fetch { want });
        }
    }

    /// Messages that count against the window: a job waiting for its eta, its turn or for others blocks nothing.
    fn prefetched(&self) -> usize {
        self.ledger.claimed().saturating_sub(self.timer.len() + self.pacer.len() + self.batcher.len())
    }

    fn child_ready(&mut self, child: ChildId, slots: usize, killable: bool, now: Now, out: &mut Vec<Output>) {
        let is_surplus = self.pool.ready(child, slots, killable, now);
        if !self.is_open() {
            self.send_away(child, now, out);
        } else if is_surplus {
            self.stop_child(child, now, out);
        } else if let Some(relieved) = self.pool.to_be_relieved() {
            self.retire(relieved, now, out);
        }
    }

    /// A child wants to be replaced: the new one is asked for before the old one is let go.
    fn retire(&mut self, child: ChildId, now: Now, out: &mut Vec<Output>) {
        if self.pool.leave(child, now) {
            out.push(Output::Notice(Notice::Retiring { child }));
            self.spawn(now, out);
            self.recall(child, out);
            out.push(Output::StopChild { child });
            self.expect_to_leave(child);
        }
    }

    fn resize(&mut self, wanted: usize, now: Now, out: &mut Vec<Output>) {
        self.pool.resize(wanted);
        for child in self.pool.surplus() {
            self.recall(child, out);
            self.stop_child(child, now, out);
        }
    }

    /// Tells a child to end once its running jobs are done, and sees to it that it does.
    fn stop_child(&mut self, child: ChildId, now: Now, out: &mut Vec<Output>) {
        self.pool.stop(child, now, out);
        self.expect_to_leave(child);
    }

    /// Every tag the broker should hold for this worker, for `Consumer::recover`.
    pub fn held_tags(&self) -> Vec<Tag> {
        self.ledger.tags()
    }

    /// Ids of tasks that are revoked, sorted.
    pub fn revoked(&self, now: Timestamp) -> Vec<String> {
        self.revocations.task_ids(now)
    }

    /// Those of `ids` whose tasks are here and have not ended, with whether they run.
    pub fn present(&self, ids: &[String]) -> Vec<(String, bool)> {
        let wanted: std::collections::HashSet<&str> = ids.iter().map(String::as_str).collect();
        let found = self.ledger.find(|held| wanted.contains(held.facts.id()));
        let held = found.into_iter().filter_map(|job| self.ledger.get(job));
        held.map(|held| (held.facts.id().to_owned(), matches!(held.place, ledger::Place::Running(_)))).collect()
    }

    /// The state in numbers.
    pub fn stats(&self) -> Stats {
        let running = self.pool.iter().map(|(_, child)| child.running.len()).sum();
        let now = self.clock.present();
        Stats {
            held: self.ledger.claimed(),
            waiting: self.waiting.len(),
            timed: self.timer.len(),
            more: self.fetcher.may_have_more(),
            queued: self.queued,
            running,
            unconfirmed: self.ledger.unconfirmed(),
            window: self.window.target(&self.pool, now),
            children: self.pool.len(),
            slots: self.pool.slots(),
            totals: self.totals,
        }
    }

    /// Makes the ledger faulty.
    #[cfg(feature = "sabotage")]
    pub fn sabotage(&mut self, sabotage: Sabotage) {
        self.ledger.sabotage = Some(sabotage);
    }
}
