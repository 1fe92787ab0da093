//! The invariants.
//!
//! A message is in exactly one place because the broker model keeps one value for it; what an engine can do wrong is
//! to end a delivery without a right to ([`super::rights`]), to lose sight of one, or to let one run twice. So every tag
//! held for a worker must be known to its engine or be on its way to it, and a run may only begin when earlier ones of
//! its delivery are known to be dead.

use std::collections::BTreeSet;

use umbel_broker::Tag;
use umbel_worker::engine::{Cancel, ChildId, Input, JobId, Output, Verdict};

use super::broker::Place;
use super::plan::{Act, Kind, Plan};
use super::runtime::Standing;
use super::world::{Told, World};

/// Jobs a child may have at most, for each slot.
const MOST_PER_SLOT: usize = 256;

/// A shutdown may take its timeout and this much, µs.
const SHUTDOWN_SLACK: i64 = 90_000_000;

/// Fetches of nothing in a second: one for every ring and every job that ends, and not a circle.
const MOST_EMPTY_FETCHES: u32 = 100;

/// How long a cancelled job has to end before its child is killed, µs.
const TIME_TO_CANCEL: i64 = 5_000_000;

/// How long a message may be ready while a worker has room for it, µs.
const MOST_READY: i64 = 1_000_000;

/// How long a child without jobs may live on when it was told to end, µs.
const MOST_LEAVING: i64 = 12_000_000;

/// One run of a task.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) message: usize,
    pub(super) tag: Tag,
    pub(super) worker: usize,
    pub(super) child: ChildId,
    pub(super) job: JobId,
    pub(super) is_over: bool,
    /// How it ended, if it came to its end.
    pub(super) verdict: Option<Verdict>,
    /// State of the record it sent.
    pub(super) state: Option<String>,
    pub(super) follow_ups: usize,
    pub(super) child_died: bool,
    /// The engine was told of its start and end in time.
    pub(super) start_heard: bool,
    pub(super) end_heard: bool,
    pub(super) start_heard_at: Option<i64>,
    soft_limit_raised: bool,
    /// When its child was told to cancel it.
    pub(super) cancelled_at: Option<i64>,
    /// It ended because it was revoked.
    pub(super) is_revoked: bool,
    /// Times its follow-ups were published.
    pub(super) published: usize,
}

impl Run {
    pub(super) fn new(message: usize, tag: Tag, worker: usize, child: ChildId, job: JobId) -> Self {
        Self {
            message,
            tag,
            worker,
            child,
            job,
            is_over: false,
            verdict: None,
            state: None,
            follow_ups: 0,
            child_died: false,
            start_heard: false,
            end_heard: false,
            start_heard_at: None,
            soft_limit_raised: false,
            cancelled_at: None,
            is_revoked: false,
            published: 0,
        }
    }
}

/// What happened to one delivery.
#[derive(Debug, Default)]
pub(super) struct Handling {
    pub(super) runs: Vec<usize>,
    /// Children the engine heard to be gone while they had it.
    pub(super) deaths: u32,
    /// Its child was killed for its hard limit.
    pub(super) limit_passed: bool,
    /// Its child was sent a signal because it was revoked.
    pub(super) terminated: bool,
}

impl World {
    /// What an engine wants must be possible.
    pub(super) fn check_output(&mut self, worker: usize, output: &Output) {
        match output {
            Output::Dispatch { child, jobs } => {
                for job in jobs {
                    let tag = Tag(job.message.properties.delivery_tag.clone().unwrap_or_default().into());
                    self.check_dispatch(worker, *child, job.id, tag);
                }
            }
            Output::Kill { child } => self.check_kill(worker, *child),
            Output::SoftLimit { job, .. } => self.check_soft_limit(worker, *job),
            Output::Cancel { child, job, why } => self.check_cancel(worker, *child, *job, *why),
            Output::Spawn { count } => self.check_spawn(worker, *count),
            Output::Settle(batch) if batch.is_empty() => self.violated("an empty batch of settlements".into()),
            Output::Fetch { want: 0 } => self.violated("a fetch of nothing".into()),
            _ => {}
        }
    }

    fn check_dispatch(&mut self, worker: usize, child: ChildId, job: JobId, tag: Tag) {
        let state = &mut self.workers[worker];
        let wall = self.now + state.clock_offset;
        let Some(&Standing::Active { slots }) = state.standing.get(&child) else {
            return self.violated(format!("w{worker} gives {job:?} to child {} which takes no jobs", child.0));
        };
        if let Some((other, _)) = state.assigned.insert(job, (child, tag.clone())) {
            self.violated(format!("w{worker} gives {job:?} to child {} while child {} has it", child.0, other.0));
        }
        let has = self.workers[worker].assigned.values().filter(|(to, _)| *to == child).count();
        if has > slots * MOST_PER_SLOT {
            self.violated(format!("w{worker} gives child {} more than it can hold: {has} jobs", child.0));
        }
        if self.workers[worker].told_lost.contains(&tag) {
            self.violated(format!("w{worker} dispatches {}, which it was told to have lost", tag.0));
        }
        let Some(message) = self.broker.of(&tag) else {
            return self.violated(format!("w{worker} dispatches {}, which was never delivered", tag.0));
        };
        let plan = self.broker.stored[message].plan.clone();
        if plan.kind != Kind::Task {
            self.violated(format!("w{worker} dispatches {}, a message that is {:?}", plan.id, plan.kind));
        }
        if self.workers[worker].told_revoked.contains_key(&plan.id) {
            self.violated(format!("w{worker} dispatches {}, which is revoked", plan.id));
        }
        if plan.eta.is_some_and(|eta| eta.0 > self.workers[worker].latest) {
            self.violated(format!("w{worker} dispatches {} before its eta", plan.id));
        }
        if plan.expires.is_some_and(|expires| wall > expires.0) {
            self.violated(format!("w{worker} dispatches {} although it has expired", plan.id));
        }
    }

    /// A kill is for a shutdown, or for a job that has passed its hard limit; a clock that jumps forward may cost up
    /// to five seconds each time.
    fn check_kill(&mut self, worker: usize, child: ChildId) {
        let state = &self.workers[worker];
        if !state.is_killable {
            self.violated(format!("w{worker} kills child {}, which cannot be killed", child.0));
        }
        let state = &self.workers[worker];
        let (slack, patience) =
            if state.has_jumped { (5_000_000 * state.jumps, 3_000_000 + state.frozen_for) } else { (0, 20_000) };
        let in_shutdown = state.shutdown.is_some();
        let mut guilty = Vec::new();
        let (mut late, mut unwarned) = (None, false);
        for run in self.runs.iter().filter(|run| run.worker == worker && run.child == child && !run.end_heard) {
            let limit = self.broker.stored[run.message].plan.options().time_limit;
            let (Some(heard), Some(limit)) = (run.start_heard_at, limit) else { continue };
            let over = match (state.slots, run.cancelled_at) {
                (1, _) => self.now - heard - limit.as_micros() as i64,
                // Beside others a job is cancelled first.
                (_, Some(cancelled)) => self.now - cancelled - TIME_TO_CANCEL,
                (_, None) => continue,
            };
            if over + slack >= 0 {
                guilty.push(run.tag.clone());
                let has_soft = self.broker.stored[run.message].plan.options().soft_time_limit.is_some();
                unwarned |= has_soft && !run.soft_limit_raised && !in_shutdown;
            }
            if over > patience {
                late = Some(over);
            }
        }
        // Both limits may pass while the engine stands still.
        if unwarned && slack == 0 && self.workers[worker].frozen_for == 0 {
            self.violated(format!("w{worker} kills child {} without a soft limit before", child.0));
        }
        if let Some(over) = late {
            self.violated(format!("w{worker} kills child {} {over} µs too late", child.0));
        }
        let is_overdue =
            self.workers[worker].stopped_at.get(&child).is_some_and(|at| self.now - at + slack >= 10_000_000)
                && !self
                    .runs
                    .iter()
                    .any(|run| run.worker == worker && run.child == child && run.start_heard && !run.end_heard);
        let terminated = !self.terminated(worker, child).is_empty();
        if guilty.is_empty() && !in_shutdown && !is_overdue && !terminated {
            self.violated(format!("w{worker} kills child {} without a reason", child.0));
        }
        for tag in guilty {
            self.handlings.entry(tag).or_default().limit_passed = true;
        }
    }

    fn check_cancel(&mut self, worker: usize, child: ChildId, job: JobId, why: Cancel) {
        let slack = if self.workers[worker].has_jumped { 5_000_000 } else { 0 };
        let Some(run) = self.run_of(worker, job) else {
            return self.violated(format!("w{worker} cancels {job:?}, which runs nowhere"));
        };
        if why == Cancel::Revoked {
            let id = &self.broker.stored[self.runs[run].message].plan.id;
            if self.workers[worker].told_revoked.get(id).is_none_or(Option::is_none) {
                self.violated(format!("w{worker} cancels {job:?}, which is not revoked"));
            }
            return;
        }
        let (heard, tag) = (self.runs[run].start_heard_at, self.runs[run].tag.clone());
        let limit = self.broker.stored[self.runs[run].message].plan.options().time_limit;
        let is_over = heard.zip(limit).is_some_and(|(heard, limit)| {
            self.now - heard + slack >= i64::try_from(limit.as_micros()).unwrap_or(i64::MAX)
        });
        if !is_over || self.runs[run].child != child || self.workers[worker].slots == 1 {
            self.violated(format!("w{worker} cancels {job:?} at child {} without a reason", child.0));
        }
        if self.runs[run].cancelled_at.replace(self.now).is_some() {
            self.violated(format!("w{worker} cancels {job:?} twice"));
        }
        self.handlings.entry(tag).or_default().limit_passed = true;
    }

    fn check_soft_limit(&mut self, worker: usize, job: JobId) {
        let Some(run) = self.run_of(worker, job) else {
            return self.violated(format!("w{worker} raises a soft limit in {job:?}, which runs nowhere"));
        };
        if std::mem::replace(&mut self.runs[run].soft_limit_raised, true) {
            self.violated(format!("w{worker} raises a soft limit twice in {job:?}"));
        }
    }

    fn check_spawn(&mut self, worker: usize, count: usize) {
        let state = &mut self.workers[worker];
        state.spawning += count;
        let there = state.standing.values().filter(|standing| matches!(standing, Standing::Active { .. })).count();
        // A retiring child is replaced before it is told to stop, in the same batch of outputs.
        let retiring = state.standing.len();
        if there + state.spawning > state.wanted + retiring || (retiring == 0 && state.spawning > state.wanted) {
            let (spawning, wanted) = (state.spawning, state.wanted);
            self.violated(format!(
                "w{worker} asks for {count} children: {there} there, {spawning} coming, {wanted} wanted"
            ));
        }
    }

    /// Asking an empty queue again and again is no progress.
    pub(super) fn check_fetched(&mut self, worker: usize, count: usize) {
        let state = &mut self.workers[worker];
        if count > 0 || self.now - state.empty_since > 1_000_000 {
            state.empty_since = self.now;
            state.empty_fetches = 0;
        }
        state.empty_fetches += u32::from(count == 0);
        if state.empty_fetches > MOST_EMPTY_FETCHES {
            self.violated(format!("w{worker} asks an empty queue again and again"));
        }
    }

    /// While nothing goes wrong, no message lies in the queue for long that a worker has room for.
    pub(super) fn check_idle(&mut self, worker: usize) {
        let state = &self.workers[worker];
        let stats = state.engine.stats();
        let has_room = stats.held.saturating_sub(stats.timed) < stats.window;
        let waited = self.broker.longest_ready(self.now);
        let could = self.report.faults == 0 && state.shutdown.is_none() && !state.is_asking() && has_room;
        if could && waited > MOST_READY {
            self.violated(format!("w{worker} has room for a message that has been ready for {waited} µs"));
        }
    }

    /// A job begins in a child.
    pub(super) fn check_run(&mut self, worker: usize, job: JobId, tag: &Tag) {
        let Some(handling) = self.handlings.get(tag) else { return };
        let unexplained = handling.runs.iter().map(|&run| &self.runs[run]).find(|run| {
            let unheard_of = !run.start_heard && !run.end_heard;
            !(run.child_died && unheard_of)
        });
        if let Some(run) = unexplained {
            let text = format!("w{worker} runs {job:?} although its delivery {} ran before: {run:?}", tag.0);
            self.violated(text);
        }
    }

    /// A frame reaches an engine: what it learns by it.
    pub(super) fn heard(&mut self, worker: usize, child: ChildId, input: &Input, told: Told) {
        let state = &mut self.workers[worker];
        if state.standing.get(&child).is_none_or(|standing| *standing == Standing::Gone) {
            return;
        }
        state.heard_at.insert(child, self.now);
        match told {
            Told::Started(run) => {
                self.runs[run].start_heard = true;
                self.runs[run].start_heard_at = Some(self.now);
            }
            Told::Finished(run) => {
                self.runs[run].end_heard = true;
                state.assigned.remove(&self.runs[run].job);
            }
            Told::Nothing => {}
        }
        match input {
            Input::Returned { jobs, .. } => state.assigned.retain(|job, (at, _)| *at != child || !jobs.contains(job)),
            Input::ChildGone { .. } => {
                state.standing.insert(child, Standing::Gone);
                let had: Vec<Tag> =
                    state.assigned.values().filter(|(at, _)| *at == child).map(|(_, tag)| tag.clone()).collect();
                state.assigned.retain(|_, (at, _)| *at != child);
                for tag in had {
                    self.handlings.entry(tag).or_default().deaths += 1;
                }
            }
            _ => {}
        }
    }

    /// After every input: what the broker holds for a worker is known to its engine, once.
    pub(super) fn check_worker(&mut self, worker: usize) {
        let state = &self.workers[worker];
        if !state.is_alive || !state.is_connected {
            return;
        }
        let tags = state.engine.held_tags();
        let known: BTreeSet<&Tag> = tags.iter().collect();
        if known.len() != tags.len() {
            self.violated(format!("w{worker} has a tag in two places: {tags:?}"));
            return;
        }
        let transit: BTreeSet<&Tag> = state.in_transit().collect();
        let forgotten = self.broker.held_by(worker).find(|tag| !known.contains(tag) && !transit.contains(tag));
        if let Some(tag) = forgotten {
            self.violated(format!("w{worker} forgot {}, which the broker holds for it", tag.0));
            return;
        }
        let stats = state.engine.stats();
        let (assigned, counted) = (state.assigned.len(), stats.queued + stats.running);
        if assigned != counted && state.shutdown.is_none() {
            self.violated(format!("w{worker} counts {counted} jobs at its children, they have {assigned}"));
        }
        self.check_leaving(worker);
        self.check_shutdown_time(worker);
    }

    /// A child that was told to end and has nothing to do is gone soon.
    fn check_leaving(&mut self, worker: usize) {
        let state = &self.workers[worker];
        let overdue = state.stopped_at.iter().find(|(child, at)| {
            let since = state.heard_at.get(child).map_or(**at, |heard| *heard.max(at));
            let is_idle = !state.assigned.values().any(|(to, _)| to == *child);
            let is_stopped = state.standing.get(child) == Some(&Standing::Stopped);
            is_stopped && is_idle && state.is_killable && !state.has_jumped && self.now - since > MOST_LEAVING
        });
        if let Some((child, _)) = overdue {
            self.violated(format!("w{worker} lets child {} live on, which should have ended", child.0));
        }
    }

    fn check_shutdown_time(&mut self, worker: usize) {
        let state = &self.workers[worker];
        if let Some((since, _)) = state.shutdown
            && self.now - since > SHUTDOWN_SLACK + state.frozen_for
        {
            self.violated(format!("w{worker} does not come to an end: {:?}", self.workers[worker].engine.stats()));
        }
    }

    /// Messages that come back without a word from the engine must not have run.
    pub(super) fn check_returned(&mut self, returned: &[Tag], occasion: &str) {
        let ran = returned.iter().find(|tag| self.handlings.get(tag).is_some_and(|handling| !handling.runs.is_empty()));
        if let Some(tag) = ran {
            self.violated(format!("{}, which had run, was given back when {occasion}", tag.0));
        }
    }

    /// A worker says that it is done.
    pub(super) fn check_stopped(&mut self, worker: usize) {
        let state = &self.workers[worker];
        let Some((since, _)) = state.shutdown else {
            return self.violated(format!("w{worker} stopped without having been told to"));
        };
        let took = self.now - since;
        if took > SHUTDOWN_SLACK + state.frozen_for {
            self.violated(format!("w{worker} took {took} µs to stop"));
        }
        let state = &self.workers[worker];
        let alive = state.standing.values().filter(|standing| !matches!(standing, Standing::Gone)).count();
        let held = self.broker.held_by(worker).count();
        if state.is_in_touch() && state.is_killable && (alive > 0 || held > 0) {
            self.violated(format!("w{worker} stopped with {alive} children and {held} messages"));
        }
    }

    /// What is not at its end.
    pub(super) fn unfinished(&self) -> String {
        let open = self.broker.stored.iter().filter(|stored| !matches!(stored.place, Place::Done | Place::Dead { .. }));
        let open: Vec<String> = open.map(|stored| format!("{} is {:?}", stored.plan.id, stored.place)).collect();
        format!("{}; {} workers live", open.join(", "), self.living().count())
    }

    /// Everything came to the end it deserves.
    pub(super) fn check_the_end(&mut self) {
        if self.report.violation.is_some() {
            return;
        }
        if !self.broker.is_drained() {
            return self.violated(format!("the history ended early: {}", self.unfinished()));
        }
        for message in 0..self.broker.stored.len() {
            self.check_ran(message);
        }
        for run in 0..self.runs.len() {
            self.check_early(run);
        }
        self.check_chords();
    }

    /// Done means run, unless it expired or was revoked; once, unless something went wrong.
    fn check_ran(&mut self, message: usize) {
        let stored = &self.broker.stored[message];
        let plan = stored.plan.clone();
        let runs = self.runs.iter().filter(|run| run.message == message);
        let (count, completed) =
            runs.fold((0, 0), |(all, completed), run| (all + 1, completed + usize::from(run.end_heard)));
        let options = plan.options();
        let may_fail = options.time_limit.is_some() || !options.acks_late || !options.reject_on_worker_lost;
        let revoked = self.revoked.contains_key(&plan.id);
        if stored.place == Place::Done && completed == 0 && plan.expires.is_none() && !may_fail && !revoked {
            self.violated(format!("{} is done and never ran to its end", plan.id));
        }
        let kills = |plan: &Plan| {
            let outlasts =
                plan.options().time_limit.is_some_and(|limit| plan.takes + 200_000 > limit.as_micros() as i64);
            outlasts || matches!(plan.act, Act::KillChild { .. } | Act::KillUnheard | Act::Hang { .. })
        };
        let children_die = self.broker.stored.iter().any(|other| kills(&other.plan));
        if self.report.faults == 0 && count > 1 && plan.act != Act::RequeueOnce && !children_die {
            self.violated(format!("{} ran {count} times although nothing went wrong", plan.id));
        }
    }

    /// An early ack's outcome was written, unless its worker died before it could.
    fn check_early(&mut self, run: usize) {
        let run = &self.runs[run];
        let plan = self.broker.stored[run.message].plan.clone();
        let worker = &self.workers[run.worker];
        let could = worker.has_settled && !worker.lapsed;
        if plan.options().acks_late || !run.end_heard || !could {
            return;
        }
        let (follow_ups, published) = (run.follow_ups, run.published);
        let stored = self.broker.results.get(&plan.id).is_some_and(|states| {
            run.state.as_ref().is_none_or(|state| states.contains(state) || states.contains(&"SUCCESS".to_owned()))
        });
        if published < follow_ups || (published > follow_ups && !worker.was_disconnected) {
            self.violated(format!("{} had {follow_ups} follow-ups and {published} were published", plan.id));
        } else if !stored && self.runs_have_record(&plan) {
            self.violated(format!("the result of {} was never stored", plan.id));
        }
    }

    fn runs_have_record(&self, plan: &Plan) -> bool {
        !matches!(plan.act, Act::Ignore | Act::RequeueOnce) && !plan.options().ignore_result
    }
}
