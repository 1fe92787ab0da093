//! Model children: run what they are given, and tell of it late, twice, or not at all.

use std::collections::VecDeque;

use umbel_broker::{DeadReason, Tag};
use umbel_protocol::{ChordStep, ResultWrite, Timestamp};
use umbel_worker::engine::{Cancel, ChildId, Input, Job, JobId, Outcome, Verdict};

use super::checks::Run;
use super::counts::Happening;
use super::frozen::Backlog;
use super::plan::{Act, Plan};
use super::world::{Event, Told, World};

/// How long a lazy child keeps its frames, µs.
const LAZINESS: i64 = 40_000;

/// What a child is told.
#[derive(Debug)]
pub(super) enum Order {
    Run(Vec<Job>),
    GiveBack(Vec<JobId>),
    SoftLimit(JobId),
    Cancel(JobId, Cancel),
    Stop,
}

/// What becomes of the frames on their way when a child dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LastWords {
    /// They arrive, then the news of its death.
    Heard,
    /// They are lost.
    Cut,
    /// Some arrive after the news.
    Late,
}

/// One child.
#[derive(Debug)]
pub(super) struct Child {
    slots: usize,
    inbox: VecDeque<Job>,
    running: Vec<usize>,
    is_alive: bool,
    is_leaving: bool,
    words_cut: bool,
    /// Keeps its frames for a while before it sends them.
    is_lazy: bool,
    /// Does not answer recalls.
    is_deaf: bool,
    /// Does not end when told to.
    is_stuck: bool,
    retires_after: Option<u32>,
    /// Asks to be replaced after so many jobs and works on.
    wants_relief_after: Option<u32>,
    finished: u32,
    last_sent: i64,
    last_received: i64,
    /// What waits for it while its process stands still.
    pub(super) backlog: Backlog,
}

impl Child {
    pub(super) fn new(slots: usize, may_misbehave: bool, rng: &mut fastrand::Rng) -> Self {
        Self {
            slots,
            inbox: VecDeque::new(),
            running: Vec::new(),
            is_alive: true,
            is_leaving: false,
            words_cut: false,
            is_lazy: rng.u32(..4) == 0,
            is_deaf: may_misbehave && rng.u32(..10) == 0,
            is_stuck: may_misbehave && rng.u32(..20) == 0,
            retires_after: (rng.u32(..4) == 0).then(|| rng.u32(1..6)),
            wants_relief_after: (rng.u32(..6) == 0).then(|| rng.u32(1..4)),
            finished: 0,
            last_sent: 0,
            last_received: 0,
            backlog: None,
        }
    }

    pub(super) fn is_alive(&self) -> bool {
        self.is_alive
    }

    fn has_retired(&self) -> bool {
        self.retires_after.is_some_and(|after| self.finished >= after)
    }
}

impl World {
    /// Sends an order to a child; orders arrive in order.
    pub(super) fn order(&mut self, worker: usize, child: ChildId, order: Order) {
        let wait = self.rng.i64(5..300);
        let Some(model) = self.workers[worker].children.get_mut(&child) else { return };
        let at = (self.now + wait).max(model.last_received);
        model.last_received = at;
        self.after(at - self.now, Event::ToChild { worker, child, order });
    }

    /// Sends a frame to the engine; a child's frames arrive in order.
    fn tell(&mut self, worker: usize, child: ChildId, input: Input, told: Told) {
        let slow = self.rng.u32(..20) == 0;
        let wait = if slow { self.rng.i64(10_000..100_000) } else { self.rng.i64(5..500) };
        let Some(model) = self.workers[worker].children.get_mut(&child) else { return };
        let at = (self.now + wait).max(model.last_sent);
        model.last_sent = at;
        self.after(at - self.now, Event::Frame { worker, child, input, told });
    }

    pub(super) fn order_arrives(&mut self, worker: usize, child: ChildId, order: Order) {
        let state = &mut self.workers[worker];
        let Some(model) = state.children.get_mut(&child).filter(|model| model.is_alive && state.is_alive) else {
            return;
        };
        match order {
            Order::Run(jobs) => {
                model.inbox.extend(jobs);
                if model.has_retired() && !model.is_deaf {
                    self.give_back(worker, child, |_| true);
                }
                self.run_next(worker, child);
            }
            Order::GiveBack(_) if model.is_deaf => {}
            Order::GiveBack(jobs) => self.give_back(worker, child, |job| jobs.contains(&job.id)),
            Order::SoftLimit(job) => self.soft_limit(worker, child, job),
            Order::Cancel(job, why) => self.cancel(worker, child, job, why),
            Order::Stop => {
                model.is_leaving = true;
                self.leave_when_idle(worker, child);
            }
        }
    }

    fn give_back(&mut self, worker: usize, child: ChildId, which: impl Fn(&Job) -> bool) {
        let Some(model) = self.workers[worker].children.get_mut(&child) else { return };
        let (back, kept): (Vec<Job>, Vec<Job>) = model.inbox.drain(..).partition(which);
        model.inbox = kept.into();
        let jobs = back.into_iter().map(|job| job.id).collect();
        self.tell(worker, child, Input::Returned { child, jobs }, Told::Nothing);
        self.leave_when_idle(worker, child);
    }

    fn leave_when_idle(&mut self, worker: usize, child: ChildId) {
        let Some(model) = self.workers[worker].children.get(&child) else { return };
        if model.is_alive && model.is_leaving && !model.is_stuck && model.running.is_empty() {
            self.child_dies(worker, child, "exit code 0");
        }
    }

    fn run_next(&mut self, worker: usize, child: ChildId) {
        loop {
            let Some(model) = self.workers[worker].children.get_mut(&child) else { return };
            if !model.is_alive || model.has_retired() || model.running.len() >= model.slots {
                return;
            }
            let Some(job) = model.inbox.pop_front() else { return };
            self.begin(worker, child, &job);
        }
    }

    fn begin(&mut self, worker: usize, child: ChildId, job: &Job) {
        let tag = Tag(job.message.properties.delivery_tag.clone().unwrap_or_default().into());
        let Some(message) = self.broker.of(&tag) else { return };
        self.check_run(worker, job.id, &tag);
        let plan = self.broker.stored[message].plan.clone();
        let number = self.runs.iter().filter(|run| run.message == message).count();
        let run = self.runs.len();
        if number > 0 {
            self.count(Happening::RanAgain);
        }
        self.note(|| format!("w{worker} child {} runs {} as run {run} (delivery {})", child.0, plan.id, tag.0));
        self.runs.push(Run::new(message, tag.clone(), worker, child, job.id));
        self.handlings.entry(tag).or_default().runs.push(run);
        self.check_slots(plan.task);
        let lasts = self.lasts(worker, &plan, number);
        let killable = self.workers[worker].is_killable;
        let Some(model) = self.workers[worker].children.get_mut(&child) else { return };
        model.running.push(run);
        if plan.act == Act::KillUnheard && killable {
            self.count(Happening::ChildCrashed);
            return self.child_dies_with(worker, child, "signal 11 (SIGSEGV)", LastWords::Cut);
        }
        if model.is_lazy {
            model.last_sent = model.last_sent.max(self.now + LAZINESS);
        }
        self.tell(worker, child, Input::Started { child, jobs: vec![job.id] }, Told::Started(run));
        if let Some(lasts) = lasts {
            self.after(lasts, Event::RunEnds { worker, child, run });
        }
    }

    /// How long a run lasts; `None`: until it is killed.
    fn lasts(&self, worker: usize, plan: &Plan, number: usize) -> Option<i64> {
        let hangs = matches!(plan.act, Act::Hang { times, .. } if number < times as usize);
        match (hangs, self.workers[worker].is_killable) {
            (true, true) => None,
            (true, false) => Some(8_000_000),
            (false, _) => Some(plan.takes),
        }
    }

    fn soft_limit(&mut self, worker: usize, child: ChildId, job: JobId) {
        let Some(run) = self.run_of(worker, job).filter(|&run| !self.runs[run].is_over) else { return };
        let plan = self.broker.stored[self.runs[run].message].plan.clone();
        if matches!(plan.act, Act::Hang { obeys_soft_limit: true, .. }) {
            self.end_run(worker, child, run, Verdict::Failure);
        }
    }

    /// Coroutines can be cancelled, threads cannot: half the jobs are of either kind.
    fn cancel(&mut self, worker: usize, child: ChildId, job: JobId, why: Cancel) {
        let Some(run) = self.run_of(worker, job).filter(|&run| !self.runs[run].is_over) else { return };
        if job.0.is_multiple_of(2) {
            self.count(Happening::JobCancelled);
            self.runs[run].is_revoked = why == Cancel::Revoked;
            let verdict = if why == Cancel::Revoked { Verdict::Ignored } else { Verdict::Failure };
            self.end_run(worker, child, run, verdict);
        }
    }

    pub(super) fn run_ends(&mut self, worker: usize, child: ChildId, run: usize) {
        let state = &self.workers[worker];
        if !state.is_alive || self.runs[run].is_over || !state.children.get(&child).is_some_and(|model| model.is_alive)
        {
            return;
        }
        let message = self.runs[run].message;
        let number = self.runs[..run].iter().filter(|run| run.message == message).count();
        let plan = self.broker.stored[message].plan.clone();
        let verdict = match plan.act {
            Act::KillChild { times } if number < times as usize && state.is_killable => {
                self.count(Happening::ChildCrashed);
                return self.child_dies(worker, child, "signal 11 (SIGSEGV)");
            }
            Act::Fail => Verdict::Failure,
            Act::Retry => Verdict::Retry,
            Act::Ignore => Verdict::Ignored,
            Act::RequeueOnce if number == 0 => Verdict::Requeue,
            Act::Reject => Verdict::Reject(DeadReason { kind: "rejected".into(), detail: "the task said so".into() }),
            _ => Verdict::Success,
        };
        self.end_run(worker, child, run, verdict);
    }

    fn end_run(&mut self, worker: usize, child: ChildId, run: usize, verdict: Verdict) {
        let plan = self.broker.stored[self.runs[run].message].plan.clone();
        let publish = self.follow_ups(run, &plan, &verdict);
        let result = match self.runs[run].is_revoked {
            true => write(&plan, "REVOKED"),
            false => record(&plan, &verdict),
        };
        let this = &mut self.runs[run];
        this.is_over = true;
        this.verdict = Some(verdict.clone());
        this.follow_ups = publish.len();
        this.state = result.as_ref().map(|result| result.state.clone());
        let job = this.job;
        let publish = publish.into_iter().map(|(plan, step)| plan.outgoing(step)).collect();
        let outcome = Outcome { job, verdict, result, publish };
        let Some(model) = self.workers[worker].children.get_mut(&child) else { return };
        model.running.retain(|&running| running != run);
        model.finished += 1;
        let retires = model.retires_after == Some(model.finished);
        let wants_relief = model.wants_relief_after == Some(model.finished);
        self.tell(worker, child, Input::Finished { child, outcome }, Told::Finished(run));
        if wants_relief {
            self.count(Happening::ChildWantedRelief);
            self.tell(worker, child, Input::WantsRelief { child }, Told::Nothing);
        }
        if retires {
            self.count(Happening::ChildRetired);
            self.give_back(worker, child, |_| true);
            self.tell(worker, child, Input::Retiring { child }, Told::Nothing);
        }
        self.run_next(worker, child);
        self.leave_when_idle(worker, child);
    }

    /// The messages a run sends along with its end, and what each does to a chord.
    fn follow_ups(&mut self, run: usize, plan: &Plan, verdict: &Verdict) -> Vec<(Plan, Option<ChordStep>)> {
        let mut plans: Vec<(Plan, Option<ChordStep>)> = match verdict {
            Verdict::Success => {
                (0..plan.follow_ups).map(|n| (Plan::simple(format!("f{run}.{n}"), None), None)).collect()
            }
            Verdict::Retry => vec![(self.retry_of(run, plan), None)],
            _ => Vec::new(),
        };
        let news = self.chord_news(format!("f{run}.{}", plans.len()), plan, verdict);
        plans.extend(news.map(|(plan, step)| (plan, Some(step))));
        for (plan, _) in &plans {
            self.plans.insert(plan.id.clone(), plan.clone().into());
        }
        plans
    }

    /// The message of the next try, which is a member of the same chord.
    fn retry_of(&mut self, run: usize, plan: &Plan) -> Plan {
        let eta = Timestamp(self.now + self.rng.i64(100_000..5_000_000));
        let act = if self.rng.u32(..4) == 0 { Act::Fail } else { Act::Succeed };
        Plan { act, role: plan.role, ..Plan::simple(format!("f{run}.0"), Some(eta)) }
    }

    /// A child that is about to die gives back what it has not started; the news may come too late.
    fn give_back_at_the_end(&mut self, worker: usize, child: ChildId) {
        let Some(model) = self.workers[worker].children.get(&child).filter(|model| model.is_alive) else { return };
        let jobs: Vec<JobId> = model.inbox.iter().map(|job| job.id).collect();
        if !jobs.is_empty() {
            self.tell(worker, child, Input::Returned { child, jobs }, Told::Nothing);
        }
    }

    /// A child's process ends, whatever it was doing.
    pub(super) fn child_dies(&mut self, worker: usize, child: ChildId, how: &str) {
        let words = match self.rng.u32(..4) {
            _ if how == "exit code 0" => LastWords::Heard,
            0 => LastWords::Cut,
            1 => LastWords::Late,
            _ => LastWords::Heard,
        };
        self.child_dies_with(worker, child, how, words);
    }

    fn child_dies_with(&mut self, worker: usize, child: ChildId, how: &str, words: LastWords) {
        let wait = self.rng.i64(50..20_000);
        if words == LastWords::Late {
            self.give_back_at_the_end(worker, child);
        }
        let Some(model) = self.workers[worker].children.get_mut(&child).filter(|model| model.is_alive) else { return };
        model.is_alive = false;
        model.words_cut = words == LastWords::Cut;
        let at = if words == LastWords::Heard { (self.now + wait).max(model.last_sent) } else { self.now + wait };
        let how = how.to_owned();
        if words == LastWords::Cut {
            self.count(Happening::WordsLost);
        }
        self.note(|| format!("w{worker} child {} dies: {how} ({words:?})", child.0));
        for run in self.runs.iter_mut().filter(|run| run.worker == worker && run.child == child) {
            run.child_died = true;
            run.is_over = true;
        }
        let input = Input::ChildGone { child, how };
        self.after(at - self.now, Event::Frame { worker, child, input, told: Told::Nothing });
    }

    /// A frame of a child reaches its engine.
    pub(super) fn frame_arrives(&mut self, worker: usize, child: ChildId, input: Input, told: Told) {
        let is_news = matches!(input, Input::ChildGone { .. });
        let is_cut = self.workers[worker].children.get(&child).is_some_and(|model| model.words_cut);
        if is_cut && !is_news {
            return;
        }
        self.heard(worker, child, &input, told);
        self.feed(worker, input);
    }
}

fn record(plan: &Plan, verdict: &Verdict) -> Option<ResultWrite> {
    let state = match verdict {
        Verdict::Success => "SUCCESS",
        Verdict::Failure | Verdict::Reject(_) => "FAILURE",
        Verdict::Retry => "RETRY",
        Verdict::Ignored | Verdict::Requeue => return None,
    };
    write(plan, state)
}

fn write(plan: &Plan, state: &str) -> Option<ResultWrite> {
    (!plan.options().ignore_result).then(|| ResultWrite {
        task_id: plan.id.clone(),
        state: state.into(),
        record: state.as_bytes().to_vec(),
        expires: None,
    })
}
